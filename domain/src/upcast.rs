//! Old versions of events, and how each becomes the next one.
//!
//! An event that was written stays as it is for ever. When the shape of a type changes, its version is raised and an
//! [`Upcaster`] is added that rewrites the payload of the old version; readers apply them one after the other.

use serde_json::Value;

/// Rewrites the payload of one version of one type of event into another version, of the same or another type.
#[derive(Clone, Copy, Debug)]
pub struct Upcaster {
    /// The aggregate type, for example `account`.
    pub aggregate_type: &'static str,
    /// Type of the old event.
    pub event_type: &'static str,
    /// Version of the old event.
    pub event_version: &'static str,
    /// Type it becomes.
    pub new_type: &'static str,
    /// Version it becomes.
    pub new_version: &'static str,
    /// The new payload, externally tagged as the old one was.
    pub rewrite: fn(Value) -> Value,
}

/// The upcasters of this version of Daybook: none, for every event is still in its first version.
pub const UPCASTERS: &[Upcaster] = &[];

/// An event after its upcasters.
pub(crate) struct UpToDate {
    pub(crate) event_type: String,
    pub(crate) event_version: String,
    pub(crate) payload: Value,
}

impl Upcaster {
    fn is_for(&self, aggregate_type: &str, event_type: &str, event_version: &str) -> bool {
        self.aggregate_type == aggregate_type
            && self.event_type == event_type
            && self.event_version == event_version
    }
}

/// Whether an upcaster is for this version.
pub(crate) fn is_old(
    upcasters: &[Upcaster],
    aggregate_type: &str,
    event_type: &str,
    event_version: &str,
) -> bool {
    upcasters.iter().any(|upcaster| upcaster.is_for(aggregate_type, event_type, event_version))
}

/// The event after every upcaster that is for it, in the order of the list, so a later one sees what an earlier one made.
pub(crate) fn up_to_date(
    upcasters: &[Upcaster],
    aggregate_type: &str,
    event_type: &str,
    event_version: &str,
    payload: Value,
) -> UpToDate {
    let mut event =
        UpToDate { event_type: event_type.to_owned(), event_version: event_version.to_owned(), payload };
    for upcaster in upcasters {
        if upcaster.is_for(aggregate_type, &event.event_type, &event.event_version) {
            event = UpToDate {
                event_type: upcaster.new_type.to_owned(),
                event_version: upcaster.new_version.to_owned(),
                payload: (upcaster.rewrite)(event.payload),
            };
        }
    }
    event
}
