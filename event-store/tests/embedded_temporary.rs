//! Temporary clusters and fresh databases: quick, many at a time, gone afterwards.

use std::time::Instant;

use event_store::embedded::{Cluster, Role, testing::TestDatabase};
use sqlx::{Connection, PgConnection, Row};

async fn value_of(connection: &mut PgConnection, setting: &str) -> String {
    let row = sqlx::query("SELECT current_setting($1)").bind(setting).fetch_one(connection).await.unwrap();
    row.get(0)
}

#[tokio::test]
async fn a_temporary_cluster_is_durable_answers_every_role_and_leaves_nothing() {
    let begun = Instant::now();
    let cluster = Cluster::start_temporary().await.unwrap();
    println!("temporary cluster after {:?}", begun.elapsed());
    let folder = cluster.folder().to_path_buf();
    for role in [Role::App, Role::Migrator, Role::Superuser] {
        let mut connection = PgConnection::connect_with(&cluster.connect_options(role)).await.unwrap();
        let user: String =
            sqlx::query_scalar("SELECT current_user::text").fetch_one(&mut connection).await.unwrap();
        assert_eq!(user, role.name());
        for durable in ["fsync", "synchronous_commit", "full_page_writes", "data_checksums"] {
            assert_eq!(value_of(&mut connection, durable).await, "on", "{durable}");
        }
        assert_eq!(value_of(&mut connection, "listen_addresses").await, "");
        assert_eq!(value_of(&mut connection, "server_encoding").await, "UTF8");
        assert_eq!(value_of(&mut connection, "lc_collate").await, "C");
    }
    drop(cluster);
    assert!(!folder.exists(), "{} is left", folder.display());
}

#[tokio::test]
async fn many_temporary_clusters_run_side_by_side() {
    let starts = (0..4).map(|_| Cluster::start_temporary());
    let clusters: Vec<_> = futures::future::join_all(starts).await.into_iter().map(Result::unwrap).collect();
    for cluster in &clusters {
        let mut connection = PgConnection::connect_with(&cluster.connect_options(Role::App)).await.unwrap();
        connection.ping().await.unwrap();
    }
}

#[tokio::test]
async fn each_test_database_is_its_own() {
    let (first, second) = (TestDatabase::create().await.unwrap(), TestDatabase::create().await.unwrap());
    assert_ne!(first.name(), second.name());
    sqlx::query("CREATE TABLE read.mine (id int)").execute(&first.app).await.unwrap();
    let there: Option<String> =
        sqlx::query_scalar("SELECT to_regclass('read.mine')::text").fetch_one(&second.app).await.unwrap();
    assert_eq!(there, None);
}
