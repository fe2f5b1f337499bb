//! The two functions of an aggregate, and what makes it one of `cqrs_es`.

use cqrs_es::DomainEvent;

use crate::Timestamp;
use crate::event::AnyEvent;
use crate::refusal::Refusal;

/// An aggregate: a consistency boundary that decides on commands and is the fold of its own events.
///
/// The default value is the aggregate before its first event. Both functions are pure; `apply` never fails, because what
/// it is given has happened.
pub trait Decider: Default + Clone + Send + Sync + 'static {
    /// The aggregate's name in the log, for example `account`.
    const TYPE: &'static str;
    /// What it can be asked.
    type Command;
    /// What can happen to it.
    type Event: DomainEvent + Into<AnyEvent>;

    /// The events that follow from `command` at `now`, the log's time.
    ///
    /// # Errors
    /// A [`Refusal`], and then nothing has happened.
    fn decide(&self, command: &Self::Command, now: Timestamp) -> Result<Vec<Self::Event>, Refusal>;

    /// Makes the event part of the state.
    fn apply(&mut self, event: &Self::Event);
}

/// Implements `cqrs_es::Aggregate` over a [`Decider`] and `DomainEvent` over its events: `handle` writes what `decide` returned.
/// The command of the library is the pair of the command and the time of the decision.
#[macro_export]
macro_rules! bridge_to_cqrs_es {
    ($aggregate:ty, $command:ty, $event:ty) => {
        impl cqrs_es::Aggregate for $aggregate {
            const TYPE: &'static str = <$aggregate as $crate::decider::Decider>::TYPE;
            type Command = ($command, $crate::Timestamp);
            type Event = $event;
            type Error = $crate::refusal::Refusal;
            type Services = ();

            async fn handle(
                &mut self,
                (command, now): Self::Command,
                _: &Self::Services,
                sink: &cqrs_es::event_sink::EventSink<Self>,
            ) -> Result<(), Self::Error> {
                for event in $crate::decider::Decider::decide(self, &command, now)? {
                    sink.write(event, self).await;
                }
                Ok(())
            }

            fn apply(&mut self, event: Self::Event) {
                $crate::decider::Decider::apply(self, &event);
            }
        }
    };
}

/// Implements `DomainEvent` for an enum of externally tagged events that are all of version 1, by the name of the variant,
/// and lists the names. Before the colon stands the variant of [`AnyEvent`](crate::event::AnyEvent) that it becomes.
#[macro_export]
macro_rules! domain_event {
    ($aggregate:ident: $event:ident { $($variant:ident),+ $(,)? }) => {
        impl $event {
            /// Every type of event and its current version.
            pub const TYPES: &'static [(&'static str, &'static str)] = &[$((stringify!($variant), "1")),+];

            /// The name of the event's type.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant { .. } => stringify!($variant)),+ }
            }

            /// The current version of its shape.
            pub fn version(&self) -> &'static str {
                "1"
            }
        }

        impl From<$event> for $crate::event::AnyEvent {
            fn from(event: $event) -> Self {
                $crate::event::AnyEvent::$aggregate(event)
            }
        }

        impl cqrs_es::DomainEvent for $event {
            fn event_type(&self) -> String {
                self.name().to_owned()
            }
            fn event_version(&self) -> String {
                self.version().to_owned()
            }
        }
    };
}
