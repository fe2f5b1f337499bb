//! `daybook keys`, beside a running server.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::daybook::{Daybook, LIMIT, command, folder, printed, refusal};

#[tokio::test]
async fn a_key_works_at_once_and_a_revoked_one_stops_within_seconds() {
    let folder = folder();
    let data = folder.path().join("data");
    let daybook = Daybook::start(&data);
    let keys = |arguments: &[&str]| command(&data).arg("keys").args(arguments).output().unwrap();

    let key = printed(&keys(&["create", "alice", "--role", "trader", "--owner", "alice"]));
    assert_eq!(daybook.ask(&key, "{ head }", json!({})).await.unwrap().0, 200);
    let list = printed(&keys(&["list"]));
    assert!(list.contains("alice") && !list.contains(&key), "{list}");

    // The key's name is the actor, and its owner is who owns what it opens.
    let open = "mutation { openAccount(input: {idempotencyKey: \"1\", owner: \"alice\", currency: \"USD\"}) { logPosition } }";
    let (_, answer) = daybook.ask(&key, open, json!({})).await.unwrap();
    assert!(answer["data"]["openAccount"]["logPosition"].is_string(), "{answer}");
    let events = "{ events(last: 1) { edges { node { type metadata } } } }";
    let event = daybook.data("auditor", events, json!({})).await["events"]["edges"][0]["node"].clone();
    assert_eq!((&event["type"], &event["metadata"]["actor"]), (&json!("AccountOpened"), &json!("alice")));

    printed(&keys(&["revoke", "alice"]));
    let begun = Instant::now();
    while daybook.ask(&key, "{ head }", json!({})).await.unwrap().0 != 401 {
        assert!(begun.elapsed() < Duration::from_secs(10), "the key still works");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(begun.elapsed() < LIMIT);
}

#[test]
fn what_a_key_lacks_is_told() {
    let folder = folder();
    let data = folder.path().join("data");
    let keys = |arguments: &[&str]| command(&data).arg("keys").args(arguments).output().unwrap();
    assert!(refusal(&keys(&["list"])).contains("start `daybook serve` with it once"));
    printed(&command(&data).arg("migrate").output().unwrap());
    assert!(refusal(&keys(&["create", "t", "--role", "trader"])).contains("--owner"));
    assert!(refusal(&keys(&["create", "o", "--role", "operator", "--owner", "x"])).contains("--owner"));
    assert!(refusal(&keys(&["create", "feed", "--role", "admin"])).contains("choose another name"));
    assert!(refusal(&keys(&["revoke", "nobody"])).contains("daybook keys list"));
}
