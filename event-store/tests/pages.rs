//! Pages for an auditor: the same events as a filter over everything, from both ends.

mod common;

use chrono::{DateTime, TimeDelta, Utc};
use common::{Writer, event, one};
use event_store::{EventFilter, LogPosition, PageRequest, RecordedEvent};
use rstest::rstest;

/// Sixty events of three streams and two types, one second apart, three at a time.
async fn filled() -> (Writer, DateTime<Utc>) {
    let mut writer = Writer::start().await;
    let begun = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    for round in 0..20_u64 {
        let mut events: Vec<_> = ["a", "b", "c"].map(|id| event(id, round + 1)).into();
        events[1].event_type = "Reset".into();
        events[2].stream.aggregate_type = "gauge".into();
        let mut batch = writer.batch(vec![one(events)]);
        batch.recorded_at = begun + TimeDelta::seconds(i64::try_from(round).unwrap());
        writer.appender.append(&batch).await.unwrap();
    }
    (writer, begun)
}

fn passes(filter: &EventFilter, event: &RecordedEvent) -> bool {
    filter.aggregate_type.as_ref().is_none_or(|wanted| *wanted == event.aggregate_type)
        && filter.aggregate_id.as_ref().is_none_or(|wanted| **wanted == *event.aggregate_id)
        && (filter.event_types.is_empty()
            || filter.event_types.iter().any(|wanted| *wanted == event.event_type))
        && filter.recorded_from.is_none_or(|from| event.recorded_at >= from)
        && filter.recorded_before.is_none_or(|before| event.recorded_at < before)
}

#[tokio::test]
async fn walking_the_pages_in_either_direction_shows_every_match_once() {
    let (writer, begun) = filled().await;
    let all = writer.log.read(LogPosition::ZERO, 1_000).await.unwrap();
    let at = |seconds| Some(begun + TimeDelta::seconds(seconds));
    let text = |text: &str| Some(text.to_owned());
    let filters = [
        EventFilter::default(),
        EventFilter { aggregate_type: text("counter"), ..Default::default() },
        EventFilter { aggregate_id: text("b"), ..Default::default() },
        EventFilter { aggregate_type: text("gauge"), aggregate_id: text("c"), ..Default::default() },
        EventFilter { aggregate_type: text("gauge"), aggregate_id: text("a"), ..Default::default() },
        EventFilter { event_types: vec!["Reset".into()], ..Default::default() },
        EventFilter { event_types: vec!["Reset".into(), "Counted".into()], ..Default::default() },
        EventFilter { recorded_from: at(3), recorded_before: at(7), ..Default::default() },
        EventFilter { recorded_from: at(30), ..Default::default() },
        EventFilter { recorded_before: at(0), ..Default::default() },
        EventFilter {
            aggregate_type: text("counter"),
            aggregate_id: text("a"),
            recorded_from: at(5),
            recorded_before: at(15),
            ..Default::default()
        },
    ];
    for filter in filters {
        let expected: Vec<_> = all.iter().filter(|event| passes(&filter, event)).cloned().collect();
        for limit in [1, 4, 100] {
            let (mut forward, mut after) = (Vec::new(), LogPosition::ZERO);
            loop {
                let page = writer.log.page(&filter, PageRequest::forward(after, limit)).await.unwrap();
                assert!(page.events.len() <= limit);
                forward.extend(page.events);
                after = page.scanned_to;
                if !page.has_more {
                    break;
                }
            }
            assert_eq!(forward, expected, "forward by {limit}: {filter:?}");

            let (mut backward, mut before) = (Vec::new(), None);
            loop {
                let page = writer.log.page(&filter, PageRequest::backward(before, limit)).await.unwrap();
                backward.extend(page.events);
                before = Some(page.scanned_to);
                if !page.has_more {
                    break;
                }
            }
            backward.reverse();
            assert_eq!(backward, expected, "backward by {limit}: {filter:?}");
        }
    }
}

#[tokio::test]
async fn a_page_between_two_positions_shows_only_what_is_between() {
    let (writer, _) = filled().await;
    let request = PageRequest {
        after: Some(LogPosition(10)),
        before: Some(LogPosition(14)),
        limit: 100,
        newest_first: true,
    };
    let page = writer.log.page(&EventFilter::default(), request).await.unwrap();
    assert_eq!(page.events.iter().map(|event| event.log_position.0).collect::<Vec<_>>(), [13, 12, 11]);
    assert!(!page.has_more);
}

#[rstest]
#[case(-1, 0)]
#[case(0, 3)]
#[case(7, 24)]
#[case(19, 60)]
#[case(1_000, 60)]
#[tokio::test]
async fn a_moment_has_the_position_that_was_newest_then(#[case] seconds: i64, #[case] position: u64) {
    let (writer, begun) = filled().await;
    let moment = begun + TimeDelta::seconds(seconds);
    assert_eq!(writer.log.position_at(moment).await.unwrap(), LogPosition(position));
    if position > 0 && seconds < 20 {
        assert_eq!(writer.log.recorded_at(LogPosition(position)).await.unwrap(), Some(moment));
    }
}

#[tokio::test]
async fn an_empty_log_has_no_moments_and_no_pages() {
    let writer = Writer::start().await;
    assert_eq!(writer.log.position_at(Utc::now()).await.unwrap(), LogPosition::ZERO);
    assert_eq!(writer.log.recorded_at(LogPosition(1)).await.unwrap(), None);
    assert_eq!(writer.log.event(LogPosition(1)).await.unwrap(), None);
    for request in [PageRequest::forward(LogPosition::ZERO, 10), PageRequest::backward(None, 10)] {
        let page = writer.log.page(&EventFilter::default(), request).await.unwrap();
        assert!(page.events.is_empty() && !page.has_more);
    }
}
