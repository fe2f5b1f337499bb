//! Which crate may use which: the layers are the architecture, and only this test keeps them.

use std::{collections::BTreeSet, process::Command};

use serde_json::Value;

/// What each crate may use directly. Tests may use the same, and `event-store` for its temporary clusters.
const ALLOWED: [(&str, &[&str]); 7] = [
    ("domain", &[]),
    ("event-store", &[]),
    ("commands", &["domain", "event-store"]),
    ("projections", &["domain", "event-store"]),
    ("processes", &["commands", "domain", "event-store"]),
    ("api", &["processes", "commands", "projections", "domain", "event-store"]),
    ("replay-tool", &["projections", "domain", "event-store"]),
];

/// Every direct dependency between two of our crates that the layers do not allow.
fn forbidden(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().expect("cargo metadata lists packages");
    let ours: BTreeSet<_> = ALLOWED.iter().map(|(name, _)| *name).collect();
    let mut found = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let Some((_, allowed)) = ALLOWED.iter().find(|(crate_name, _)| *crate_name == name) else {
            found.push(format!("{name} has no place in the layers"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = dependency["name"].as_str().unwrap();
            let for_tests = dependency["kind"] == "dev" && (used == "event-store" || used == name);
            if ours.contains(used) && !allowed.contains(&used) && !for_tests {
                found.push(format!("{name} uses {used}"));
            }
        }
    }
    found
}

fn cargo_metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked", "--offline"])
        .current_dir(super::top())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn crates_use_only_what_lies_below_them() {
    let metadata = cargo_metadata();
    assert_eq!(metadata["packages"].as_array().unwrap().len(), ALLOWED.len());
    assert_eq!(forbidden(&metadata), Vec::<String>::new());
}

#[test]
fn a_dependency_across_the_layers_is_found() {
    let dependency = |name: &str, kind: Value| serde_json::json!({ "name": name, "kind": kind });
    let package = |name: &str, dependencies: Vec<Value>| serde_json::json!({ "name": name, "dependencies": dependencies });
    let metadata = serde_json::json!({ "packages": [
        package("commands", vec![dependency("projections", Value::Null), dependency("domain", Value::Null)]),
        package("projections", vec![dependency("commands", "dev".into()), dependency("event-store", "dev".into())]),
        package("domain", vec![dependency("event-store", Value::Null), dependency("serde", Value::Null)]),
        package("utilities", vec![]),
    ]});
    assert_eq!(
        forbidden(&metadata),
        [
            "commands uses projections",
            "projections uses commands",
            "domain uses event-store",
            "utilities has no place in the layers"
        ]
    );
}
