//! Streams: cold loads and snapshots.

mod common;

use std::sync::Arc;

use common::{Writer, event, event_with, one};
use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::{EventUpcaster, PersistedEventRepository, SemanticVersionEventUpcaster};
use cqrs_es::{Aggregate, DomainEvent};
use event_store::{
    LogPosition, NewSnapshot, RecordedEvent, Snapshots, StreamId, load_events, load_snapshots,
};
use futures::TryStreamExt;
use postgres_es::PostgresEventRepository;
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

/// The events of the streams of type `counter` after a sequence each: place in the list, sequence and position.
async fn load(writer: &Writer, streams: &[(&str, u64)]) -> Vec<(usize, RecordedEvent)> {
    let mut connection = writer.database.app.acquire().await.unwrap();
    let loaded = load_events(&mut connection, "counter", streams.iter().copied());
    let mut events: Vec<_> = loaded.try_collect().await.unwrap();
    // The order of the streams is nobody's promise.
    events.sort_by_key(|(place, _)| *place);
    events
}

async fn snapshots(writer: &Writer, ids: &[&str], state_version: u16) -> Vec<(usize, u64, String)> {
    let mut connection = writer.database.app.acquire().await.unwrap();
    let ids: Vec<Arc<str>> = ids.iter().map(|id| Arc::from(*id)).collect();
    let loaded = load_snapshots(&mut connection, "counter", &ids, state_version).await.unwrap();
    let mut loaded: Vec<_> =
        loaded.into_iter().map(|(place, snapshot)| (place, snapshot.sequence, snapshot.state)).collect();
    loaded.sort();
    loaded
}

#[tokio::test]
async fn postgres_es_reads_a_stream_of_this_log_and_upcasts_it() {
    let mut writer = Writer::start().await;
    let mut old = event_with("a", 1, r#"{"Counted":{"dozens":2}}"#);
    old.event_version = "1.0".into();
    let mut new = event_with("a", 2, r#"{"Counted":{"by":5}}"#);
    new.event_version = "2.0".into();
    writer.append(vec![one(vec![old, new])]).await;

    let pool = writer.database.app.clone();
    let repository = PostgresEventRepository::new(pool).with_tables("log.events", "log.snapshots");
    assert_eq!(repository.get_last_events::<Counter>("a", 1).await.unwrap().len(), 1);
    let events = repository.get_events::<Counter>("a").await.unwrap();
    assert_eq!(events[0].metadata, json!({"actor": "test"}));
    let mut counter = Counter::default();
    for event in events {
        let event = upcasters().iter().fold(event, |event, upcaster| {
            if upcaster.can_upcast(&event.event_type, &event.event_version) {
                upcaster.upcast(event)
            } else {
                event
            }
        });
        counter.apply(serde_json::from_value(event.payload).unwrap());
    }
    assert_eq!(counter.total, 29);
    assert_eq!(writer.stored(LogPosition::ZERO, 1).await[0].payload.as_ref(), r#"{"Counted":{"dozens":2}}"#);
}

#[tokio::test]
async fn several_streams_are_loaded_at_once_each_in_order_and_an_unknown_one_is_empty() {
    let mut writer = Writer::start().await;
    for sequence in 1..=3 {
        writer
            .append(vec![one(vec![event("b", sequence), event("a", sequence), event("c", sequence)])])
            .await;
    }
    let found = async |streams: &[(&str, u64)]| -> Vec<(usize, String, u64)> {
        let events = load(&writer, streams).await.into_iter();
        events.map(|(place, event)| (place, event.aggregate_id.to_string(), event.sequence)).collect()
    };
    let (a, b) = (|sequence| (0, "a".to_owned(), sequence), |sequence| (2, "b".to_owned(), sequence));
    assert_eq!(found(&[("a", 0), ("nobody", 0), ("b", 1)]).await, [a(1), a(2), a(3), b(2), b(3)]);
    assert_eq!(found(&[("a", 2)]).await, [a(3)]);
    assert_eq!(found(&[("a", 3), ("nobody", 0)]).await, []);
    assert_eq!(found(&[]).await, []);
    let events = load(&writer, &[("a", 0)]).await.into_iter().map(|(_, event)| event).collect::<Vec<_>>();
    let (counter, other) = (StreamId::new("counter", "a"), StreamId::new("other", "a"));
    assert_eq!(writer.log.stream(&counter, 0, 10).await.unwrap(), events);
    assert_eq!(writer.log.stream(&other, 0, 10).await.unwrap(), [], "of another type");

    let stream = writer.log.stream(&StreamId::new("counter", "b"), 1, 10).await.unwrap();
    assert_eq!(stream.iter().map(|event| event.log_position.0).collect::<Vec<_>>(), [4, 7]);
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
    assert_eq!(snapshots(&writer, &["a", "b"], 1).await, []);

    first.save(&[snapshot("a", 20), snapshot("b", 5)]).await.unwrap();
    first.save(&[snapshot("a", 10)]).await.unwrap();
    let (a, b) = ((2, 20, r#"{"total": 20}"#.to_owned()), (0, 5, r#"{"total": 5}"#.to_owned()));
    assert_eq!(snapshots(&writer, &["b", "nobody", "a"], 1).await, [b, a]);

    assert_eq!(snapshots(&writer, &["a"], 2).await, [], "another shape");
    second.save(&[snapshot("a", 15)]).await.unwrap();
    assert_eq!(snapshots(&writer, &["a"], 2).await, [(0, 15, r#"{"total": 15}"#.to_owned())]);
    assert_eq!(snapshots(&writer, &["a"], 1).await, []);
}
