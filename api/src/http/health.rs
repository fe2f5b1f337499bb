//! Whether the server lives, whether it can work, and what it has done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use commands::Bus;
use domain::Code;
use projections::read::{ProjectionState, ReadModels};
use serde::Serialize;
use sqlx::PgPool;
use tokio::sync::Mutex;

use super::negotiation::Media;
use super::{AppState, answer, authentication};
use crate::auth::rights::METRICS;
use crate::errors::ApiError;

/// How far behind the log a projection may be.
const MAX_LAG: u64 = 10_000;
/// How long the checks may take together.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a report is told again: anybody may ask, and it costs queries.
const KEPT: Duration = Duration::from_millis(500);

/// What has to be well for the server to be ready. Cheap to clone.
#[derive(Clone)]
pub struct Readiness {
    pool: PgPool,
    bus: Bus,
    models: ReadModels,
    last: Arc<Mutex<Option<(Instant, Report)>>>,
}

/// What is well and what is not.
#[derive(Clone, Serialize)]
struct Report {
    status: &'static str,
    checks: Checks,
}

#[derive(Clone, Serialize)]
struct Checks {
    server: &'static str,
    database: &'static str,
    bus: &'static str,
    projections: String,
}

const OK: &str = "ok";

impl Readiness {
    /// Ready is: the pool's database answers, the bus leads or reaches the node that does, every projection is near the end
    /// of the log.
    pub fn new(pool: PgPool, bus: Bus, models: ReadModels) -> Self {
        Self { pool, bus, models, last: Arc::default() }
    }

    async fn report(&self, is_stopping: bool) -> Report {
        let mut last = self.last.lock().await;
        if let Some((at, report)) = &*last
            && at.elapsed() < KEPT
            && (report.checks.server == OK) != is_stopping
        {
            return report.clone();
        }
        let server = if is_stopping { "stopping" } else { OK };
        let bus = if self.bus.is_served() { OK } else { "reaches no node that leads the log" };
        let checks = match tokio::time::timeout(PATIENCE, self.check_database()).await {
            Ok((database, projections)) => Checks { server, database, bus, projections },
            Err(_) => {
                Checks { server, database: "does not answer", bus, projections: "not known".to_owned() }
            }
        };
        let is_ready = [checks.server, checks.database, checks.bus, &checks.projections]
            .iter()
            .all(|check| *check == OK);
        let report = Report { status: if is_ready { "ready" } else { "not ready" }, checks };
        *last = Some((Instant::now(), report.clone()));
        report
    }

    async fn check_database(&self) -> (&'static str, String) {
        if let Err(error) = sqlx::query("SELECT 1").execute(&self.pool).await {
            tracing::warn!(%error, "not ready: the database does not answer");
            return ("does not answer", "not known".to_owned());
        }
        let projections = match self.models.status().await {
            Err(error) => {
                tracing::warn!(%error, "not ready: the projections cannot be asked");
                "cannot be read".to_owned()
            }
            Ok(all) => {
                let late: Vec<_> = all
                    .iter()
                    .filter(|one| one.state != ProjectionState::Live || one.lag > MAX_LAG)
                    .map(|one| match one.state {
                        ProjectionState::Live => format!("{} is {} events behind", one.name, one.lag),
                        ProjectionState::Building => format!("{} is being built", one.name),
                        ProjectionState::Stopped => format!("{} has stopped", one.name),
                    })
                    .collect();
                if late.is_empty() { OK.to_owned() } else { late.join(", ") }
            }
        };
        (OK, projections)
    }
}

/// `/livez`: the process answers.
pub async fn livez() -> Response {
    #[derive(Serialize)]
    struct Alive {
        status: &'static str,
    }
    answer::json(StatusCode::OK, Media::Json, &Alive { status: "alive" })
}

/// `/readyz`: 200, or 503 with what is not ready.
pub async fn readyz(State(state): State<AppState>) -> Response {
    let report = state.readiness.report(state.shutdown.is_cancelled()).await;
    let status = if report.status == "ready" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer::json(status, Media::Json, &report)
}

/// `/internal/metrics`, for Prometheus.
pub async fn metrics(State(state): State<AppState>, headers: HeaderMap) -> Response {
    let caller = match authentication::by_headers(&state.keys, &headers).await {
        Ok(caller) => caller,
        Err(error) => return answer::error(&error),
    };
    if !METRICS.contains(&caller.principal.role) {
        let message = "metrics are for operators, auditors and admins; use a key of such a role";
        return answer::error(&ApiError::new(Code::Forbidden, message));
    }
    let headers = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"), (CACHE_CONTROL, "no-store")];
    (headers, state.metrics.render()).into_response()
}
