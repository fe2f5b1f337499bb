//! `compose.yml` and `.env.example`: valid by the official schema, each service watched, each setting told.

use std::collections::BTreeSet;

use serde_json::Value;

fn compose() -> Value {
    serde_norway::from_str(&super::read("compose.yml")).unwrap()
}

fn services(compose: &Value) -> impl Iterator<Item = (&String, &Value)> {
    compose["services"].as_object().unwrap().iter()
}

/// Names before `=` in `.env.example`, those behind a `#` too.
fn documented_settings() -> BTreeSet<String> {
    super::read(".env.example")
        .lines()
        .filter_map(|line| line.trim_start_matches('#').split_once('='))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'))
        .collect()
}

/// The variables that a text interpolates: `${NAME}`, `${NAME:-default}`.
fn interpolated(text: &str) -> BTreeSet<String> {
    let starts = text.split("${").skip(1);
    starts
        .map(|rest| {
            let end = rest.find(|c: char| !(c.is_ascii_uppercase() || c == '_'));
            rest[..end.unwrap_or(rest.len())].to_owned()
        })
        .collect()
}

#[test]
fn the_compose_file_is_valid_by_the_official_schema() {
    let mut schema: Value =
        serde_json::from_str(&super::read("schemas/third-party/compose-spec.json")).unwrap();
    // Published with https, which no validator knows as draft 7's name.
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    let validator = jsonschema::draft7::new(&schema).unwrap();
    let errors: Vec<_> =
        validator.iter_errors(&compose()).map(|error| format!("{}: {error}", error.instance_path)).collect();
    assert_eq!(errors, Vec::<String>::new());

    let mut wrong = compose();
    wrong["services"]["daybook"]["prots"] = serde_json::json!(["8080:8080"]);
    assert!(!validator.is_valid(&wrong), "the schema would accept anything");
}

#[test]
fn every_service_is_watched_or_runs_once() {
    let compose = compose();
    let runs_once: BTreeSet<_> = services(&compose)
        .flat_map(|(_, service)| service["depends_on"].as_object().into_iter().flatten())
        .filter(|(_, dependency)| dependency["condition"] == "service_completed_successfully")
        .map(|(name, _)| name.clone())
        .collect();
    for (name, service) in services(&compose) {
        if runs_once.contains(name) {
            assert_eq!(service["restart"], "no", "{name} runs once");
        } else {
            assert!(service["healthcheck"]["test"].is_array(), "{name} has no health check");
            assert_eq!(service["restart"], "unless-stopped", "{name}");
        }
    }
    assert_eq!(runs_once, BTreeSet::from(["migrate".to_owned()]));
}

#[test]
fn nobody_starts_before_what_it_needs_is_ready() {
    let compose = compose();
    for (name, service) in services(&compose) {
        for (needed, dependency) in service["depends_on"].as_object().into_iter().flatten() {
            assert!(compose["services"][needed].is_object(), "{name} needs {needed}");
            assert_ne!(dependency["condition"], "service_started", "{name} on {needed}");
        }
    }
}

#[test]
fn every_named_volume_is_used_and_declared() {
    let compose = compose();
    let declared: BTreeSet<_> = compose["volumes"].as_object().unwrap().keys().cloned().collect();
    let used: BTreeSet<_> = services(&compose)
        .flat_map(|(_, service)| service["volumes"].as_array().into_iter().flatten())
        .filter_map(|volume| volume.as_str()?.split_once(':'))
        .map(|(source, _)| source.to_owned())
        .filter(|source| !source.starts_with('.'))
        .collect();
    assert_eq!(declared, used);
}

#[test]
fn mounted_files_are_there() {
    let compose = compose();
    for (name, service) in services(&compose) {
        let volumes = service["volumes"].as_array().into_iter().flatten();
        for path in volumes.filter_map(|v| v.as_str()?.split_once(':')).map(|(path, _)| path) {
            let is_there = !path.starts_with('.') || super::top().join(path).is_file();
            assert!(is_there, "{name} mounts {path}");
        }
    }
}

#[test]
fn every_setting_of_daybook_in_the_compose_file_is_documented() {
    let compose = compose();
    let documented = documented_settings();
    let mut used = interpolated(&super::read("compose.yml"));
    for service in ["daybook", "migrate"] {
        let environment = compose["services"][service]["environment"].as_object().unwrap();
        used.extend(environment.keys().cloned());
    }
    let unknown: Vec<_> = used.difference(&documented).collect();
    assert_eq!(unknown, Vec::<&String>::new());
}

#[test]
fn the_server_serves_as_the_application_and_only_migrations_change_the_schema() {
    let compose = compose();
    let environment = |service: &str, name: &str| {
        compose["services"][service]["environment"][name].as_str().map(str::to_owned)
    };
    let serving = environment("daybook", "DATABASE_URL").unwrap();
    assert!(serving.starts_with("postgresql://daybook_app:"), "{serving}");
    assert_eq!(environment("daybook", "DAYBOOK_MIGRATION_URL"), None);
    let migrating = environment("migrate", "DAYBOOK_MIGRATION_URL").unwrap();
    assert!(migrating.starts_with("postgresql://daybook_migrator:"), "{migrating}");
}
