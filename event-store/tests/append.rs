//! Appending: what is written, what is refused, and what is known after a failure.

mod common;

use common::{Writer, event, one};
use event_store::{AppendError, LogPosition};

#[tokio::test]
async fn an_appended_batch_is_read_back_as_it_was_written() {
    let mut writer = Writer::start().await;
    let batch = writer.batch(vec![one(vec![event("a", 1), event("b", 1)]), one(vec![event("a", 2)])]);
    assert_eq!(writer.appender.append(&batch).await, Ok(LogPosition(3)));
    let fresh = writer.open_log().await;
    let read = fresh.read(LogPosition::ZERO, 100).await.unwrap();
    assert_eq!(read, batch.recorded());
    assert_eq!(read.iter().map(|event| event.remaining).collect::<Vec<_>>(), [1, 0, 0]);
    assert!(matches!(writer.appender.append(&batch).await, Err(AppendError::Deposed(_))));
}
