//! HTTP: GraphQL over POST and over WebSocket, the pages, health and metrics, and what every request passes.
//!
//! - [`graphql`]: `POST /graphql`, by the GraphQL-over-HTTP specification; [`negotiation`] and [`params`] are its two ends.
//! - [`socket`]: `GET /graphql` as a WebSocket, by the protocol `graphql-transport-ws`.
//! - [`pages`]: the live page and GraphiQL, from the binary. [`health`]: `/livez`, `/readyz`, `/internal/metrics`.
//! - [`serving`]: the connections. [`layers`]: request ids, panics, load shedding, time-outs, security headers, metrics.
//!
//! **Invariant:** only the pages and the two health checks answer without a key.

mod answer;
mod authentication;
mod documents;
mod graphql;
mod health;
mod layers;
mod limits;
mod negotiation;
mod operation;
mod pages;
mod params;
mod serving;
mod socket;

use std::sync::Arc;

use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use axum::{Router, http::Uri};
use domain::Code;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate as _, SizeAbove};

use crate::auth::Keys;
use crate::errors::ApiError;
use crate::graphql::Schema;

use documents::Documents;
pub use health::Readiness;
pub use limits::HttpLimits;
pub use serving::serve;

/// An answer of fewer bytes goes in one packet as it is.
const WORTH_COMPRESSING: u16 = 1_400;

/// What the HTTP side works with. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    schema: Schema,
    documents: Documents,
    keys: Keys,
    readiness: Readiness,
    metrics: PrometheusHandle,
    limits: Arc<HttpLimits>,
    shutdown: CancellationToken,
    /// Requests that may be worked on; operations over WebSocket count, too.
    requests: Arc<Semaphore>,
    /// Bytes that the bodies of those may have.
    bodies: Arc<Semaphore>,
    /// WebSockets that may be open.
    sockets: Arc<Semaphore>,
}

impl AppState {
    /// When `shutdown` is cancelled, `/readyz` says so and every WebSocket is closed; see [`AppState::sockets_closed`].
    /// The metrics' upkeep is the caller's.
    pub fn new(
        schema: Schema,
        keys: Keys,
        readiness: Readiness,
        metrics: PrometheusHandle,
        limits: HttpLimits,
        shutdown: CancellationToken,
    ) -> Self {
        let requests = Arc::new(Semaphore::new(limits.concurrent_requests));
        let bodies = Arc::new(Semaphore::new(limits.bodies_bytes));
        let sockets = Arc::new(Semaphore::new(limits.sockets as usize));
        Self {
            schema,
            documents: Documents::default(),
            keys,
            readiness,
            metrics,
            limits: Arc::new(limits),
            shutdown,
            requests,
            bodies,
            sockets,
        }
    }

    /// How much is served at once.
    pub fn limits(&self) -> &HttpLimits {
        &self.limits
    }

    /// Waits until no WebSocket is open. The server's own graceful shutdown does not wait for those.
    pub async fn sockets_closed(&self) {
        // Nobody closes the semaphore, so this waits for all permits.
        let _all = self.sockets.acquire_many(self.limits.sockets).await;
    }
}

/// Everything that is served.
pub fn router(state: AppState) -> Router {
    Router::new()
        .route("/graphql", get(socket::upgrade).post(graphql::post).fallback(graphql::wrong_method))
        .route("/internal/metrics", get(health::metrics))
        .route("/", get(pages::index))
        .route("/graphiql", get(pages::graphiql))
        .route("/assets/{*path}", get(pages::file))
        .route("/vendor/{*path}", get(pages::file))
        .layer(from_fn_with_state(state.clone(), layers::limit_work))
        // Health is told under load, too.
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(
            CompressionLayer::new()
                .compress_when(DefaultPredicate::new().and(SizeAbove::new(WORTH_COMPRESSING))),
        )
        .layer(from_fn(layers::set_security_headers))
        .layer(from_fn(layers::observe))
        .with_state(state)
}

async fn not_found(uri: Uri) -> Response {
    // Only what is certainly harmless is repeated.
    let path: String = uri.path().chars().filter(char::is_ascii_graphic).take(100).collect();
    let error =
        ApiError::new(Code::BadRequest, format!("there is nothing at {path}; try /graphql or /graphiql"));
    answer::error_with(StatusCode::NOT_FOUND, &error)
}

async fn wrong_method() -> Response {
    let error = ApiError::new(Code::BadRequest, "this is read with GET");
    answer::error_with(StatusCode::METHOD_NOT_ALLOWED, &error)
}
