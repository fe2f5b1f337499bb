//! Old versions of events become today's on reading, and what nobody knows stops the reader.
//!
//! Every event is still in its first version, so these tests make up older ones: `MoneyPaidIn` 1, which gave a bare amount of
//! dollars, became `FundsDeposited` 0, whose sender was called `source`, and that today's `FundsDeposited` 1.

use domain::account::AccountEvent;
use domain::event::{AnyEvent, UnknownEvent};
use domain::upcast::{self, Upcaster};
use serde_json::{Value, json};

const MADE_UP: &[Upcaster] = &[
    Upcaster {
        aggregate_type: "account",
        event_type: "MoneyPaidIn",
        event_version: "1",
        new_type: "FundsDeposited",
        new_version: "0",
        rewrite: |mut payload| {
            let old = payload["MoneyPaidIn"].take();
            let amount = format!("{} USD", old["dollars"].as_str().unwrap_or_default());
            json!({ "FundsDeposited": { "movement_id": old["movement_id"], "source": "world", "amount": amount } })
        },
    },
    Upcaster {
        aggregate_type: "account",
        event_type: "FundsDeposited",
        event_version: "0",
        new_type: "FundsDeposited",
        new_version: "1",
        rewrite: |mut payload| {
            if let Some(fields) = payload["FundsDeposited"].as_object_mut() {
                let from = fields.remove("source").unwrap_or(Value::Null);
                fields.insert("from".to_owned(), from);
            }
            payload
        },
    },
];

fn oldest() -> Value {
    json!({ "MoneyPaidIn": { "movement_id": "a.m1", "dollars": "12.50" } })
}

fn today() -> AccountEvent {
    serde_json::from_value(json!({
        "FundsDeposited": { "movement_id": "a.m1", "from": "world", "amount": "12.50 USD" }
    }))
    .expect("an event of today")
}

fn refused(aggregate_type: &str, event_type: &str, event_version: &str, payload: &str) -> UnknownEvent {
    AnyEvent::decode(aggregate_type, event_type, event_version, payload).expect_err("nobody knows it")
}

#[test]
fn an_old_version_becomes_todays_over_every_version_between() {
    let payload = oldest().to_string();
    let event = AnyEvent::decode_with(MADE_UP, "account", "MoneyPaidIn", "1", &payload);
    assert_eq!(event, Ok(AnyEvent::Account(today())));

    let payload = r#"{"FundsDeposited":{"movement_id":"a.m1","source":"world","amount":"12.50 USD"}}"#;
    let event = AnyEvent::decode_with(MADE_UP, "account", "FundsDeposited", "0", payload);
    assert_eq!(event, Ok(AnyEvent::Account(today())));
}

#[test]
fn an_event_of_today_is_left_alone() {
    let payload = serde_json::to_string(&today()).expect("serialises");
    let event = AnyEvent::decode_with(MADE_UP, "account", "FundsDeposited", "1", &payload);
    assert_eq!(event, Ok(AnyEvent::Account(today())));
}

#[test]
fn an_upcaster_leaves_other_aggregates_alone() {
    let payload = oldest().to_string();
    let error =
        AnyEvent::decode_with(MADE_UP, "portfolio", "MoneyPaidIn", "1", &payload).expect_err("unknown");
    assert_eq!(error.event_type, "MoneyPaidIn");
}

#[test]
fn no_upcaster_rewrites_a_version_of_today() {
    for upcaster in upcast::UPCASTERS {
        let types = AnyEvent::TYPES.iter().find(|(name, _)| *name == upcaster.aggregate_type);
        let (_, events) = types.expect("its aggregate type is known");
        let old = (upcaster.event_type, upcaster.event_version);
        assert!(!events.contains(&old), "{old:?} is today's");
    }
}

#[test]
fn an_unknown_event_is_an_error_that_names_it() {
    let error = refused("account", "FundsTeleported", "1", "{}");
    assert_eq!(
        (error.aggregate_type.as_str(), error.event_type.as_str(), error.event_version.as_str()),
        ("account", "FundsTeleported", "1")
    );
    let message = error.to_string();
    assert!(message.contains("FundsTeleported of version 1 of the aggregate type account"), "{message}");
}

#[test]
fn an_unknown_aggregate_type_or_version_stops_the_reader() {
    let payload = serde_json::to_string(&today()).expect("serialises");
    assert_eq!(refused("vault", "FundsDeposited", "1", &payload).reason, "the aggregate type is not known");
    assert_eq!(refused("account", "FundsDeposited", "2", &payload).reason, "the version is not known");
}

#[test]
fn a_payload_that_is_not_what_its_row_says_stops_the_reader() {
    let payload = serde_json::to_string(&today()).expect("serialises");
    assert_eq!(
        refused("account", "FundsWithdrawn", "1", &payload).reason,
        "its payload is tagged FundsDeposited"
    );
    assert!(!refused("account", "FundsDeposited", "1", "").reason.is_empty());
    let strange =
        r#"{"FundsDeposited":{"movement_id":"a.m1","from":"world","amount":"12.50 USD","colour":"red"}}"#;
    assert!(refused("account", "FundsDeposited", "1", strange).reason.contains("colour"));
}
