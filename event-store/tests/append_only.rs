//! Nobody changes or deletes an event, and a server does not start with a role that could.

mod common;

use common::{Writer, event, one};
use event_store::embedded::Role;
use event_store::embedded::testing::TestDatabase;
use event_store::{LogPosition, RoleError, check_application_role, check_durability};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

const CHANGES: [&str; 6] = [
    "UPDATE log.events SET payload = '{}'",
    "UPDATE log.events SET payload = '{}' WHERE false",
    "DELETE FROM log.events",
    "TRUNCATE log.events",
    "DELETE FROM log.log_head",
    "TRUNCATE log.log_head",
];

async fn sqlstate<'e>(executor: impl sqlx::PgExecutor<'e>, sql: &'e str) -> (String, String) {
    let error = sqlx::raw_sql(sql).execute(executor).await.expect_err(sql);
    let error = error.as_database_error().expect(sql);
    (error.code().unwrap().into_owned(), error.message().to_owned())
}

#[tokio::test]
async fn the_application_can_neither_change_nor_delete_events() {
    let mut writer = Writer::start().await;
    writer.append(vec![one(vec![event("a", 1)])]).await;
    let more = [
        "UPDATE log.log_head SET log_id = gen_random_uuid()",
        "INSERT INTO log.log_head (only_row) VALUES (true)",
        "UPDATE log.idempotency_keys SET outcome = '{}'",
        "ALTER TABLE log.events DISABLE TRIGGER ALL",
        "DROP TABLE log.events",
        "CREATE TABLE log.mine (i int)",
        "SET ROLE daybook_owner",
        "COPY log.events TO '/tmp/never-written'",
    ];
    for sql in CHANGES.iter().chain(&more) {
        assert_eq!(sqlstate(&writer.database.app, sql).await.0, "42501", "{sql}");
    }
    assert_eq!(writer.count("events").await, 1);
    assert_eq!(writer.stored(LogPosition::ZERO, 10).await.len(), 1);
}

#[tokio::test]
async fn the_triggers_refuse_the_migrator_as_owner_and_a_superuser_too() {
    let mut writer = Writer::start().await;
    writer.append(vec![one(vec![event("a", 1)])]).await;
    for (pool, before) in [
        (&writer.database.migrator, "SET LOCAL ROLE daybook_owner"),
        (&writer.database.superuser, "SELECT 1"),
        (&writer.database.superuser, "SET LOCAL session_replication_role = replica"),
    ] {
        for change in CHANGES {
            let mut transaction = pool.begin().await.unwrap();
            sqlx::raw_sql(before).execute(&mut *transaction).await.unwrap();
            let (state, message) = sqlstate(&mut *transaction, change).await;
            assert_eq!(state, "42501", "{before}; {change}");
            assert!(message.contains("is append-only"), "{before}; {change}: {message}");
        }
    }
    assert_eq!(writer.count("events").await, 1);
    assert_eq!(writer.count("log_head").await, 1);
}

#[tokio::test]
async fn the_application_may_serve() {
    let database = TestDatabase::create().await.unwrap();
    check_application_role(&database.app).await.unwrap();
    check_durability(&database.app).await.unwrap();
}

#[tokio::test]
async fn a_role_that_may_alter_the_log_is_refused() {
    let database = TestDatabase::create().await.unwrap();
    let refusal = |pool: PgPool| async move {
        match check_application_role(&pool).await {
            Err(RoleError::MayAlterEvents { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refusal(database.superuser.clone()).await, "is a superuser");
    assert_eq!(refusal(database.migrator.clone()).await, "owns the log");

    // Roles are shared by all databases of the cluster, so each has a name of its own.
    let name = database.name();
    for (number, (rights, reason)) in [
        ("GRANT UPDATE (payload) ON log.events TO ROLE", "can update events"),
        ("GRANT DELETE ON log.events TO ROLE", "can delete events"),
        ("GRANT TRUNCATE ON log.events TO ROLE", "can delete events"),
        ("GRANT TRIGGER ON log.events TO ROLE", "can put triggers on events"),
        ("GRANT DELETE ON log.log_head TO ROLE", "can remove the head of the log"),
        ("GRANT UPDATE ON log.log_head TO ROLE", "can rename the log"),
        ("ALTER ROLE ROLE CREATEROLE", "can create roles"),
    ]
    .into_iter()
    .enumerate()
    {
        let role = format!("{name}_role_{number}");
        let sql = format!("CREATE ROLE ROLE LOGIN; GRANT daybook_app TO ROLE; {rights}")
            .replace("TO ROLE", &format!("TO {role}"));
        let sql = sql
            .replace("CREATE ROLE ROLE", &format!("CREATE ROLE {role}"))
            .replace("ALTER ROLE ROLE", &format!("ALTER ROLE {role}"));
        sqlx::raw_sql(&sql).execute(&database.superuser).await.unwrap();
        assert_eq!(refusal(connect_as(&database, &role).await).await, reason);
    }
}

#[tokio::test]
async fn a_login_role_with_the_applications_rights_may_serve_and_one_without_is_told() {
    let database = TestDatabase::create().await.unwrap();
    let (with, without) = (format!("{}_with", database.name()), format!("{}_without", database.name()));
    sqlx::raw_sql(&format!(
        "CREATE ROLE {with} LOGIN; GRANT daybook_app TO {with}; CREATE ROLE {without} LOGIN; \
                            GRANT USAGE ON SCHEMA log TO {without}; GRANT SELECT ON log.events TO {without}"
    ))
    .execute(&database.superuser)
    .await
    .unwrap();
    check_application_role(&connect_as(&database, &with).await).await.unwrap();
    let refused = check_application_role(&connect_as(&database, &without).await).await;
    assert!(matches!(refused, Err(RoleError::LacksRight { reason: "insert events", .. })), "{refused:?}");
}

#[tokio::test]
async fn acting_as_the_application_does_not_hide_the_role_that_logged_in() {
    let database = TestDatabase::create().await.unwrap();
    let options = database.connect_options(Role::Superuser).await.unwrap().options([("role", "daybook_app")]);
    let pool = PgPoolOptions::new().connect_with(options).await.unwrap();
    assert!(matches!(check_application_role(&pool).await, Err(RoleError::MayAlterEvents { .. })));
}

async fn connect_as(database: &TestDatabase, role: &str) -> PgPool {
    let options = database.connect_options(Role::App).await.unwrap().username(role);
    PgPoolOptions::new().max_connections(1).connect_with(options).await.unwrap()
}
