//! Every version of every event ever written stays readable: its JSON Schema and a golden payload lie in `schemas/events`.
//!
//! The schemas are generated: `UPDATE_SCHEMAS=1 cargo test -p domain --test event_schemas` writes those of today's versions.
//! A golden is written by hand, once, and never changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use domain::account::AccountEvent;
use domain::event::AnyEvent;
use domain::market::MarketEvent;
use domain::order::OrderEvent;
use domain::portfolio::PortfolioEvent;
use domain::quote::QuoteEvent;
use schemars::{JsonSchema, schema_for};
use serde_json::{Value, json};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/events")
}

fn file(aggregate_type: &str, event_type: &str, version: &str, what: &str) -> PathBuf {
    folder().join(aggregate_type).join(format!("{event_type}.v{version}.{what}.json"))
}

/// Aggregate type, event type and version of everything written today.
fn today() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    AnyEvent::TYPES.iter().flat_map(|(aggregate_type, events)| {
        events.iter().map(move |(event_type, version)| (*aggregate_type, *event_type, *version))
    })
}

/// The schema of one type of event: its branch of the aggregate's, with the definitions that it refers to.
fn schema(aggregate_type: &str, event_type: &str) -> Value {
    match aggregate_type {
        "account" => branch::<AccountEvent>(event_type),
        "portfolio" => branch::<PortfolioEvent>(event_type),
        "order" => branch::<OrderEvent>(event_type),
        "market" => branch::<MarketEvent>(event_type),
        "quote" => branch::<QuoteEvent>(event_type),
        other => panic!("the aggregate type {other} has no schema here"),
    }
}

fn branch<E: JsonSchema>(event_type: &str) -> Value {
    let whole = schema_for!(E).to_value();
    let branches = match whole.get("oneOf").and_then(Value::as_array) {
        Some(branches) => branches.clone(),
        None => vec![whole.clone()],
    };
    let mut branch = branches
        .into_iter()
        .find(|branch| branch["required"] == json!([event_type]))
        .unwrap_or_else(|| panic!("there is no schema of {event_type}"));
    branch["$schema"] = whole["$schema"].clone();
    branch["title"] = event_type.into();
    let mut definitions = serde_json::Map::new();
    let mut to_visit = vec![branch.clone()];
    while let Some(part) = to_visit.pop() {
        for name in references(&part) {
            if !definitions.contains_key(&name) {
                let definition = whole["$defs"][&name].clone();
                to_visit.push(definition.clone());
                definitions.insert(name, definition);
            }
        }
    }
    if definitions.is_empty() {
        branch.as_object_mut().expect("a schema is an object").remove("$defs");
    } else {
        branch["$defs"] = Value::Object(definitions);
    }
    branch
}

fn references(schema: &Value) -> Vec<String> {
    match schema {
        Value::Object(fields) => {
            let own = fields.get("$ref").and_then(Value::as_str);
            let own = own.and_then(|text| text.strip_prefix("#/$defs/")).map(str::to_owned);
            own.into_iter().chain(fields.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

/// The same with its keys sorted, whatever order the JSON library was built to keep.
fn in_order(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<_, _> =
                fields.into_iter().map(|(key, value)| (key, in_order(value))).collect();
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(in_order).collect()),
        other => other,
    }
}

/// Every file below `schemas/events` whose name ends so, as aggregate type, event type, version and text.
fn files(what: &str) -> Vec<(String, String, String, String)> {
    let mut found = Vec::new();
    for aggregate in fs::read_dir(folder()).expect("schemas/events is there") {
        let aggregate = aggregate.expect("readable").path();
        for path in fs::read_dir(&aggregate).expect("a folder for each aggregate type") {
            let path = path.expect("readable").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name in ASCII").to_owned();
            let Some(stem) = name.strip_suffix(&format!(".{what}.json")) else { continue };
            let (event_type, version) = stem.split_once(".v").expect("<Type>.v<version>");
            let aggregate_type =
                aggregate.file_name().and_then(|name| name.to_str()).expect("a name in ASCII");
            let text = fs::read_to_string(&path).expect("readable");
            found.push((aggregate_type.to_owned(), event_type.to_owned(), version.to_owned(), text));
        }
    }
    found.sort();
    found
}

#[test]
fn the_schemas_on_disk_are_those_of_the_events() {
    let update = std::env::var_os("UPDATE_SCHEMAS").is_some();
    let mut stale = Vec::new();
    for (aggregate_type, event_type, version) in today() {
        let path = file(aggregate_type, event_type, version, "schema");
        let schema = schema(aggregate_type, event_type);
        if update {
            fs::create_dir_all(path.parent().expect("a folder")).expect("can be made");
            fs::write(&path, format!("{:#}\n", in_order(schema.clone()))).expect("can be written");
        }
        let on_disk =
            fs::read_to_string(&path).ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
        if on_disk != Some(schema) {
            stale.push(path);
        }
    }
    assert!(
        stale.is_empty(),
        "these schemas are missing or differ: raise the version and add an upcaster if the change reaches payloads already \
         written, else run with UPDATE_SCHEMAS=1: {stale:#?}"
    );
}

#[test]
fn every_event_type_has_a_golden_payload() {
    let missing: Vec<_> = today()
        .map(|(aggregate_type, event_type, version)| file(aggregate_type, event_type, version, "golden"))
        .filter(|path| !path.exists())
        .collect();
    assert!(missing.is_empty(), "these goldens have to be written: {missing:#?}");
}

#[test]
fn every_golden_fits_the_schema_of_its_version() {
    let schemas: BTreeMap<_, _> = files("schema")
        .into_iter()
        .map(|(aggregate_type, event_type, version, text)| ((aggregate_type, event_type, version), text))
        .collect();
    for (aggregate_type, event_type, version, golden) in files("golden") {
        let key = (aggregate_type, event_type, version);
        let schema = schemas.get(&key).unwrap_or_else(|| panic!("{key:?} has no schema"));
        let schema: Value = serde_json::from_str(schema).expect("JSON");
        let golden: Value = serde_json::from_str(&golden).expect("JSON");
        let validator = jsonschema::validator_for(&schema).expect("a valid schema");
        if let Err(error) = validator.validate(&golden) {
            panic!("{key:?}: {error}");
        }
    }
}

#[test]
fn a_schema_refuses_what_its_event_does_not_have() {
    for (aggregate_type, event_type, _, golden) in files("golden") {
        let validator =
            jsonschema::validator_for(&schema(&aggregate_type, &event_type)).expect("a valid schema");
        let mut golden: Value = serde_json::from_str(&golden).expect("JSON");
        golden[&event_type]["surprise"] = json!(1);
        assert!(!validator.is_valid(&golden), "{event_type} takes any field");
        assert!(!validator.is_valid(&json!({})), "{event_type} may be nothing");
    }
}

#[test]
fn every_golden_of_every_version_decodes() {
    let goldens = files("golden");
    assert!(goldens.len() >= today().count());
    for (aggregate_type, event_type, version, golden) in goldens {
        let event = AnyEvent::decode(&aggregate_type, &event_type, &version, &golden);
        event.unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn every_golden_of_today_is_written_again_byte_for_byte() {
    for (aggregate_type, event_type, version) in today() {
        let golden =
            fs::read_to_string(file(aggregate_type, event_type, version, "golden")).expect("a golden");
        let event = AnyEvent::decode(aggregate_type, event_type, version, &golden).expect("decodes");
        let again = match &event {
            AnyEvent::Account(event) => serde_json::to_string_pretty(event),
            AnyEvent::Portfolio(event) => serde_json::to_string_pretty(event),
            AnyEvent::Order(event) => serde_json::to_string_pretty(event),
            AnyEvent::Market(event) => serde_json::to_string_pretty(event),
            AnyEvent::Quote(event) => serde_json::to_string_pretty(event),
        };
        assert_eq!(again.expect("serialises") + "\n", golden);
        assert_eq!((event.aggregate_type(), event.name()), (aggregate_type, event_type));
    }
}
