//! Events of the log, as they are shown.

use async_graphql::{ID, SimpleObject};
use commands::Principal;
use event_store::RecordedEvent;
use serde_json::Value;

use crate::errors::{ApiError, Result};
use crate::graphql::context::MASK;
use crate::graphql::scalars::{BigInt, DateTime, Json, LogPosition};

/// Members of a payload that are personal data wherever they are.
const PERSONAL: [&str; 4] = ["owner", "name", "reference", "client_order_id"];

/// What a principal may see of payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventMask {
    /// Everything.
    Nothing,
    /// Everything but personal data.
    Personal,
}

impl EventMask {
    /// The mask for a principal.
    pub fn of(principal: &Principal) -> Self {
        if principal.role.sees_personal_data() { Self::Nothing } else { Self::Personal }
    }

    fn apply(self, payload: &mut Value) {
        if self == Self::Nothing {
            return;
        }
        match payload {
            Value::Object(members) => {
                for (name, value) in members {
                    if PERSONAL.contains(&name.as_str()) && value.is_string() {
                        *value = Value::String(MASK.to_owned());
                    } else {
                        self.apply(value);
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.apply(item)),
            _ => {}
        }
    }
}

/// An event of the log.
#[derive(SimpleObject)]
pub struct Event {
    /// Its place in the log.
    pub log_position: LogPosition,
    /// A UUID.
    id: ID,
    /// account, portfolio, order, market or quote.
    aggregate_type: String,
    /// Id of the aggregate.
    aggregate_id: ID,
    /// Its place in the aggregate's stream.
    sequence: BigInt,
    /// Its name, for example FundsDeposited.
    #[graphql(name = "type")]
    event_type: String,
    /// Version of the payload's shape.
    version: String,
    /// What happened, externally tagged; personal data is masked for the role operator.
    payload: Json,
    /// command_id, correlation_id, causation_id, actor and occurred_at.
    metadata: Json,
    /// The decider's clock.
    recorded_at: DateTime,
}

impl Event {
    /// The event as it may be seen.
    ///
    /// # Errors
    /// [`domain::Code::Internal`] if the log holds something that is not JSON, which PostgreSQL refuses.
    pub fn new(event: &RecordedEvent, mask: EventMask) -> Result<Self> {
        let json = |text: &str| {
            serde_json::from_str::<Value>(text).map_err(|error| ApiError::internal("read an event", &error))
        };
        let mut payload = json(&event.payload)?;
        mask.apply(&mut payload);
        Ok(Self {
            log_position: event.log_position.into(),
            id: ID::from(event.event_id.to_string()),
            aggregate_type: event.aggregate_type.to_string(),
            aggregate_id: ID::from(&*event.aggregate_id),
            sequence: event.sequence.into(),
            event_type: event.event_type.to_string(),
            version: event.event_version.to_string(),
            payload: Json(payload),
            metadata: Json(json(&event.metadata)?),
            recorded_at: event.recorded_at.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn personal_data_is_masked_at_any_depth() {
        let mut payload = json!({"OrderPlaced": {"order_id": "o", "ticket": {"owner": "alice", "list": [{"reference": "rent"}]}}});
        EventMask::Personal.apply(&mut payload);
        assert_eq!(
            payload,
            json!({"OrderPlaced": {"order_id": "o", "ticket": {"owner": "***", "list": [{"reference": "***"}]}}})
        );
        let mut open = json!({"owner": "alice"});
        EventMask::Nothing.apply(&mut open);
        assert_eq!(open, json!({"owner": "alice"}));
    }
}
