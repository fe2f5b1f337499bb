//! One stream: cold loads with upcasters, and snapshots.

mod common;

use common::{Writer, event, event_with, one};
use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::{EventUpcaster, SemanticVersionEventUpcaster};
use cqrs_es::{Aggregate, DomainEvent};
use event_store::{LoadError, LogPosition, NewSnapshot, Snapshots, StreamId, load_events};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Counter {
    total: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum CounterEvent {
    Counted { by: i64 },
}

impl DomainEvent for CounterEvent {
    fn event_type(&self) -> String {
        "Counted".into()
    }
    fn event_version(&self) -> String {
        "2.0".into()
    }
}

impl Aggregate for Counter {
    const TYPE: &'static str = "counter";
    type Command = ();
    type Event = CounterEvent;
    type Error = std::fmt::Error;
    type Services = ();

    async fn handle(&mut self, (): (), (): &(), _sink: &EventSink<Self>) -> Result<(), Self::Error> {
        Ok(())
    }

    fn apply(&mut self, event: CounterEvent) {
        let CounterEvent::Counted { by } = event;
        self.total += by;
    }
}

/// Version 1 counted dozens.
fn upcasters() -> Vec<Box<dyn EventUpcaster>> {
    let dozens = |payload: serde_json::Value| {
        let dozens = payload["Counted"]["dozens"].as_i64().unwrap_or_default();
        json!({"Counted": {"by": dozens * 12}})
    };
    vec![Box::new(SemanticVersionEventUpcaster::new("Counted", "2.0", Box::new(dozens)))]
}

async fn fold(writer: &Writer, mut state: Counter, after_sequence: u64) -> Counter {
    let events =
        load_events::<Counter>(&writer.database.app, "a", after_sequence, &upcasters()).await.unwrap();
    for event in events {
        state.apply(serde_json::from_value(event.payload).unwrap());
    }
    state
}

#[tokio::test]
async fn an_old_event_is_upcast_on_load() {
    let mut writer = Writer::start().await;
    let mut old = event_with("a", 1, r#"{"Counted":{"dozens":2}}"#);
    old.event_version = "1.0".into();
    let mut new = event_with("a", 2, r#"{"Counted":{"by":5}}"#);
    new.event_version = "2.0".into();
    writer.append(vec![one(vec![old, new])]).await;

    let events = load_events::<Counter>(&writer.database.app, "a", 0, &upcasters()).await.unwrap();
    assert_eq!(events[0].payload, json!({"Counted": {"by": 24}}));
    assert_eq!(events[0].event_version, "2.0.0");
    assert_eq!(events[1].payload, json!({"Counted": {"by": 5}}));
    assert_eq!(events[0].metadata, json!({"actor": "test"}));
    assert_eq!(writer.stored(LogPosition::ZERO, 1).await[0].payload.as_ref(), r#"{"Counted":{"dozens":2}}"#);
}

#[tokio::test]
async fn a_stream_is_loaded_alone_and_in_order_and_an_unknown_one_is_empty() {
    let mut writer = Writer::start().await;
    for sequence in 1..=3 {
        writer.append(vec![one(vec![event("b", sequence), event("a", sequence)])]).await;
    }
    let load = |id: &'static str, after| {
        let pool = writer.database.app.clone();
        async move {
            let events = load_events::<Counter>(&pool, id, after, &[]).await.unwrap();
            events.iter().map(|event| (event.aggregate_id.clone(), event.sequence)).collect::<Vec<_>>()
        }
    };
    assert_eq!(load("a", 0).await, [("a".into(), 1), ("a".into(), 2), ("a".into(), 3)]);
    assert_eq!(load("a", 2).await, [("a".into(), 3)]);
    assert_eq!(load("a", 3).await, []);
    assert_eq!(load("nobody", 0).await, []);

    let stream = writer.log.stream(&StreamId::new("counter", "b"), 1, 10).await.unwrap();
    assert_eq!(stream.iter().map(|event| event.log_position.0).collect::<Vec<_>>(), [3, 5]);
}

#[tokio::test]
async fn a_stream_with_a_missing_event_is_not_loaded() {
    let mut writer = Writer::start().await;
    // No append notices a first event that does not follow the stream; the load does.
    writer.append(vec![one(vec![event("a", 1)]), one(vec![event("b", 7)])]).await;
    writer.append(vec![one(vec![event("a", 3)])]).await;
    for (id, after) in [("a", 0), ("a", 1), ("b", 0)] {
        let loaded = load_events::<Counter>(&writer.database.app, id, after, &[]).await;
        assert!(matches!(loaded, Err(LoadError::Damaged { .. })), "{id}: {loaded:?}");
    }
}

#[tokio::test]
async fn a_snapshot_and_the_tail_give_the_same_state_as_the_whole_stream_at_every_cut() {
    let mut writer = Writer::start().await;
    let events = (1..=6)
        .map(|sequence| {
            let mut event =
                event_with("a", sequence, &format!(r#"{{"Counted":{{"by":{}}}}}"#, 1 << sequence));
            event.event_version = "2.0".into();
            event
        })
        .collect();
    writer.append(vec![one(events)]).await;
    let whole = fold(&writer, Counter::default(), 0).await;
    assert_eq!(whole.total, 126);

    let snapshots = Snapshots::new(writer.database.app.clone(), 1);
    let stream = StreamId::new("counter", "a");
    for sequence in 1..=6_u64 {
        let state = Counter { total: (1..=sequence).map(|sequence| 1 << sequence).sum() };
        let state = serde_json::to_string(&state).unwrap();
        snapshots.save(&[NewSnapshot { stream: stream.clone(), sequence, state }]).await.unwrap();
        let snapshot = snapshots.load(&stream).await.unwrap().unwrap();
        assert_eq!(snapshot.sequence, sequence);
        let state = serde_json::from_str(&snapshot.state).unwrap();
        assert_eq!(fold(&writer, state, snapshot.sequence).await, whole, "cut after {sequence}");
    }
}

#[tokio::test]
async fn the_newest_snapshot_is_kept_and_another_version_is_ignored_until_overwritten() {
    let writer = Writer::start().await;
    let (first, second) =
        (Snapshots::new(writer.database.app.clone(), 1), Snapshots::new(writer.database.app.clone(), 2));
    let snapshot = |id: &str, sequence: u64| NewSnapshot {
        stream: StreamId::new("counter", id.to_owned()),
        sequence,
        state: format!(r#"{{"total": {sequence}}}"#),
    };
    let a = StreamId::new("counter", "a");
    assert_eq!(first.load(&a).await.unwrap(), None);

    first.save(&[snapshot("a", 20), snapshot("b", 5)]).await.unwrap();
    first.save(&[snapshot("a", 10)]).await.unwrap();
    let kept = first.load(&a).await.unwrap().unwrap();
    assert_eq!((kept.sequence, kept.state.as_str()), (20, r#"{"total": 20}"#));

    assert_eq!(second.load(&a).await.unwrap(), None, "another shape");
    second.save(&[snapshot("a", 15)]).await.unwrap();
    assert_eq!(second.load(&a).await.unwrap().unwrap().sequence, 15);
    assert_eq!(first.load(&a).await.unwrap(), None);
}
