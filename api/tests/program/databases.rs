//! `DATABASE_URL` instead of the private cluster.

use event_store::embedded::{Cluster, Role};
use serde_json::json;

use crate::daybook::{Daybook, command, folder, printed, refusal};

#[tokio::test]
async fn a_given_database_is_migrated_with_its_url_and_has_neither_keys_nor_demo() {
    let folder = folder();
    let data = folder.path().join("data");
    let cluster = Cluster::start_temporary().await.unwrap();
    let with = |role| {
        let mut command = command(&data);
        command.env("DATABASE_URL", cluster.connection_uri(role));
        command
    };

    let told = refusal(&with(Role::App).output().unwrap());
    assert!(told.contains("migrate it first"), "{told}");
    printed(
        &with(Role::App)
            .env("DAYBOOK_MIGRATION_URL", cluster.connection_uri(Role::Migrator))
            .arg("migrate")
            .output()
            .unwrap(),
    );

    let uri = cluster.connection_uri(Role::App);
    let elsewhere = format!("{}/elsewhere", uri.rsplit_once('/').unwrap().0);
    let told = refusal(&command(&data).env("DATABASE_URL", elsewhere).output().unwrap());
    assert!(told.contains("does not let us in") && told.contains("elsewhere"), "{told}");

    let told = refusal(&with(Role::Migrator).output().unwrap());
    assert!(told.contains("may alter the log") && told.contains("--allow-unsafe-role"), "{told}");
    let key = printed(&with(Role::App).args(["keys", "create", "a", "--role", "auditor"]).output().unwrap());

    let daybook = Daybook::start_by(with(Role::App), &data);
    daybook.ready().await;
    assert!(!data.join("api-keys.json").exists());
    let (_, answer) = daybook.ask(&key, "{ head markets { symbol } }", json!({})).await.unwrap();
    assert_eq!(answer, json!({"data": {"head": "0", "markets": []}}));
}

#[test]
fn a_database_that_is_not_there_is_told_without_its_password() {
    let folder = folder();
    let data = folder.path().join("data");
    let refused = |url: &str| refusal(&command(&data).env("DATABASE_URL", url).output().unwrap());
    for url in ["mysql://app:secret@localhost/daybook", "secret"] {
        let told = refused(url);
        assert!(told.contains("DATABASE_URL") && !told.contains("secret"), "{told}");
    }
    let told = refused("postgresql://app:secret@127.0.0.1:1/daybook");
    assert!(told.contains("127.0.0.1:1 cannot be reached") && told.contains("refused"), "{told}");
    assert!(told.contains("is it running") && !told.contains("secret") && !told.contains("pool"), "{told}");
}
