//! `daybook keys`, beside a running server.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::daybook::{Daybook, command, folder, printed, refusal};

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
        assert!(begun.elapsed() < Duration::from_secs(5), "the key still works");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
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

#[tokio::test]
async fn keys_are_made_listed_and_revoked_while_no_server_runs() {
    let folder = folder();
    let data = folder.path().join("data");
    let keys = |arguments: &[&str]| command(&data).arg("keys").args(arguments).output().unwrap();
    let daybook = Daybook::start(&data);
    daybook.signal(Signal::TERM);
    assert!(daybook.ended().0.success());

    let kept = printed(&keys(&["create", "kept", "--role", "auditor"]));
    let ended = printed(&keys(&["create", "ended", "--role", "auditor"]));
    printed(&keys(&["revoke", "ended"]));
    let listed = printed(&keys(&["list", "--json"]));
    assert!(!listed.contains(&kept) && !listed.contains(&ended), "a key was shown twice");
    let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
    let record = |name: &str| listed.iter().find(|record| record["name"] == name).unwrap();
    assert_eq!(
        (&record("kept")["role"], &record("kept")["owner"], &record("kept")["revokedAt"]),
        (&json!("auditor"), &Value::Null, &Value::Null)
    );
    assert!(record("ended")["revokedAt"].is_string());
    assert!(refusal(&keys(&["create", "ended", "--role", "auditor"])).contains("choose another name"));

    let daybook = Daybook::start(&data);
    assert_eq!(daybook.ask(&kept, "{ head }", json!({})).await.unwrap().0, 200);
    assert_eq!(daybook.ask(&ended, "{ head }", json!({})).await.unwrap().0, 401);
}
