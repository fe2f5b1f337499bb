//! Appenders log in by themselves, as the application's pool does.

mod common;

use std::time::Duration;

use common::{TTL, event, keyed};
use event_store::embedded::{Cluster, Role};
use event_store::{AppendError, Appender, Batch, Leadership, Log, LogPosition};
use sqlx::postgres::PgPoolOptions;
use sqlx::{ConnectOptions as _, Executor as _};

const PASSWORD: &str = "a:b/c@d%20 é'\"";

#[rstest::rstest]
#[case::scram("scram-sha-256", "scram-sha-256")]
#[case::md5("md5", "md5")]
#[case::plain("password", "scram-sha-256")]
#[tokio::test]
async fn an_appender_logs_in_with_a_password(#[case] method: &str, #[case] kept_as: &str) {
    let cluster = Cluster::start_temporary().await.unwrap();
    event_store::migrate(&cluster.connect_options(Role::Migrator)).await.unwrap();
    let mut superuser = cluster.connect_options(Role::Superuser).connect().await.unwrap();
    let hba: String = sqlx::query_scalar("SHOW hba_file").fetch_one(&mut superuser).await.unwrap();
    let password = PASSWORD.replace('\'', "''");
    let demand = format!(
        "SET password_encryption = '{kept_as}'; ALTER ROLE daybook_app PASSWORD '{password}'; \
         COPY (VALUES ('local all daybook_app {method}'), ('local all all trust')) TO '{hba}'; \
         SELECT pg_reload_conf()"
    );
    superuser.execute(sqlx::raw_sql(&demand)).await.unwrap();

    let options = cluster.connect_options(Role::App);
    let connect = |password| {
        let pool = PgPoolOptions::new().acquire_timeout(Duration::from_secs(5));
        pool.connect_lazy_with(options.clone().password(password))
    };
    let pool = connect(PASSWORD);
    let log = Log::open(pool.clone()).await.unwrap();
    let lease = Leadership::new(pool).acquire("node-1", TTL).await.unwrap().unwrap();
    let mut appender = Appender::connect(&log, &lease).await.unwrap();
    let batch = Batch {
        after: LogPosition::ZERO,
        recorded_at: chrono::Utc::now(),
        commands: vec![keyed("k", vec![event("a", 1)])],
    };
    assert_eq!(appender.append(&batch).await, Ok(LogPosition(1)));

    // The password changes while the pool still has its connections.
    superuser.execute("ALTER ROLE daybook_app PASSWORD 'another'").await.unwrap();
    let refused = Appender::connect(&log, &lease).await.unwrap_err();
    let AppendError::Unavailable(reason) = &refused else { panic!("{refused}") };
    assert!(reason.contains("password authentication failed for user \"daybook_app\""), "{reason}");
}
