//! Given what has happened, when a command comes, then these events follow or it is refused.
//!
//! Every sentence is checked both ways, by `decide` and by `handle` of `cqrs_es`; what follows must survive JSON, and so must
//! the state it was decided on.

#![allow(dead_code, reason = "every test file uses another part of the kit")]

use std::fmt::Debug;
use std::pin::pin;
use std::str::FromStr;
use std::task::{Context, Poll, Waker};

use chrono::{DateTime, Duration};
use domain::{Code, Decider, Refusal, Timestamp};
use proptest::test_runner::{Config, RngSeed};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What an aggregate must be to be tested: a decider that is also an aggregate of `cqrs_es` and can be kept as JSON.
pub trait Testable:
    Decider<Command: Clone + Debug, Event: Clone + Debug + PartialEq + Serialize + DeserializeOwned>
    + cqrs_es::Aggregate<
        Command = (<Self as Decider>::Command, Timestamp),
        Event = <Self as Decider>::Event,
        Error = Refusal,
        Services = (),
    > + Debug
    + PartialEq
    + Serialize
    + DeserializeOwned
{
}

impl<A> Testable for A where
    A: Decider<Command: Clone + Debug, Event: Clone + Debug + PartialEq + Serialize + DeserializeOwned>
        + cqrs_es::Aggregate<
            Command = (<A as Decider>::Command, Timestamp),
            Event = <A as Decider>::Event,
            Error = Refusal,
            Services = (),
        > + Debug
        + PartialEq
        + Serialize
        + DeserializeOwned
{
}

/// The time at which tests take place, unless they say otherwise.
pub fn noon() -> Timestamp {
    DateTime::from_timestamp(1_700_000_000, 123_456_000).expect("a time that chrono knows")
}

/// So many seconds after noon, or before it.
pub fn noon_plus(seconds: i64) -> Timestamp {
    noon() + Duration::seconds(seconds)
}

/// Reads a value that the test has written down: `read("12.50 USD")`.
pub fn read<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| panic!("{text:?}: {error:?}"))
}

/// What has happened.
pub struct Given<A: Decider> {
    aggregate: A,
    now: Timestamp,
}

/// What came of the command.
pub struct Then<A: Decider> {
    before: A,
    now: Timestamp,
    result: Result<Vec<A::Event>, Refusal>,
}

/// The aggregate after these events, at noon.
pub fn given<A: Testable>(events: impl IntoIterator<Item = <A as Decider>::Event>) -> Given<A> {
    Given { aggregate: replay(events), now: noon() }
}

/// The fold of events.
pub fn replay<A: Testable>(events: impl IntoIterator<Item = <A as Decider>::Event>) -> A {
    let mut aggregate = A::default();
    for event in events {
        Decider::apply(&mut aggregate, &event);
    }
    aggregate
}

impl<A: Testable> Given<A> {
    /// More that has happened.
    pub fn and(mut self, events: impl IntoIterator<Item = <A as Decider>::Event>) -> Self {
        for event in events {
            Decider::apply(&mut self.aggregate, &event);
        }
        self
    }

    /// When the command comes.
    pub fn at(self, now: Timestamp) -> Self {
        Self { now, ..self }
    }

    /// The command.
    pub fn when(self, command: <A as Decider>::Command) -> Then<A> {
        let result = decide_both_ways(&self.aggregate, &command, self.now);
        Then { before: self.aggregate, now: self.now, result }
    }

    /// The aggregate as it is now.
    pub fn look(&self) -> &A {
        &self.aggregate
    }

    /// The aggregate itself.
    pub fn state(self) -> A {
        self.aggregate
    }
}

impl<A: Testable> Then<A> {
    /// Exactly these events follow; what comes after happens on top of them.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = <A as Decider>::Event>) -> Given<A> {
        let expected: Vec<_> = expected.into_iter().collect();
        assert_eq!(self.result, Ok(expected.clone()));
        Given { aggregate: self.before, now: self.now }.and(expected)
    }

    /// The command is accepted and changes nothing.
    #[track_caller]
    pub fn then_nothing(self) -> Given<A> {
        self.then([])
    }

    /// The command is refused with this code.
    #[track_caller]
    pub fn then_refused(self, code: Code) -> Given<A> {
        match &self.result {
            Err(refusal) => assert_eq!(refusal.code, code, "{refusal}"),
            Ok(events) => panic!("expected {code}, but these events followed: {events:#?}"),
        }
        Given { aggregate: self.before, now: self.now }
    }

    /// The command is refused with this code, and the input field is blamed.
    #[track_caller]
    pub fn then_refused_at(self, code: Code, field: &str) -> Given<A> {
        let blamed = self.result.as_ref().err().and_then(|refusal| refusal.field.clone());
        assert_eq!(blamed, Some(vec!["input".to_owned(), field.to_owned()]));
        self.then_refused(code)
    }

    /// What followed, to look at closer, and what comes after on top of it.
    #[track_caller]
    pub fn happens(self) -> (Given<A>, Vec<<A as Decider>::Event>) {
        let events = self.result.unwrap_or_else(|refusal| panic!("refused: {refusal}"));
        (Given { aggregate: self.before, now: self.now }.and(events.clone()), events)
    }

    /// What followed, to look at closer.
    #[track_caller]
    pub fn events(self) -> Vec<<A as Decider>::Event> {
        self.result.unwrap_or_else(|refusal| panic!("refused: {refusal}"))
    }
}

/// What `decide` answers, after checking that `handle` answers the same, that both leave what they must, and that everything
/// survives JSON.
#[track_caller]
pub fn decide_both_ways<A: Testable>(
    aggregate: &A,
    command: &<A as Decider>::Command,
    now: Timestamp,
) -> Result<Vec<<A as Decider>::Event>, Refusal> {
    assert_eq!(&through_json(aggregate), aggregate, "a snapshot gives back what was put into it");
    let decided = aggregate.decide(command, now);

    let mut handled = aggregate.clone();
    let sink = cqrs_es::event_sink::EventSink::default();
    let outcome = block_on(handled.handle((command.clone(), now), &(), &sink));
    match &decided {
        Ok(events) => {
            assert_eq!(outcome, Ok(()), "handle and decide answer the same");
            assert_eq!(&block_on(sink.collect()), events, "handle writes what decide returned");
            let mut applied = aggregate.clone();
            events.iter().for_each(|event| Decider::apply(&mut applied, event));
            assert_eq!(handled, applied, "handle applies what decide returned");
            assert_eq!(&through_json(events), events, "an event reads as it was written");
        }
        Err(refusal) => {
            assert_eq!(outcome.as_ref(), Err(refusal), "handle and decide answer the same");
            assert_eq!(&handled, aggregate, "a refused command leaves the state as it was");
        }
    }
    decided
}

/// The value after it was written as JSON and read again.
#[track_caller]
pub fn through_json<T: Serialize + DeserializeOwned>(value: &T) -> T {
    let json = serde_json::to_string(value).expect("a state or an event can be written as JSON");
    serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error} in {json}"))
}

/// Runs a future that only waits for uncontended locks.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}

/// How property tests run: always the same `cases` cases, unless `PROPTEST_CASES` and `PROPTEST_RNG_SEED` say otherwise. For a
/// long run over new ground: `PROPTEST_CASES=100000 PROPTEST_RNG_SEED=$RANDOM cargo test -p domain`.
pub fn property(cases: u32) -> Config {
    let said = |variable| std::env::var_os(variable).is_some();
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if !said("PROPTEST_CASES") {
        config.cases = cases;
    }
    if !said("PROPTEST_RNG_SEED") {
        config.rng_seed = RngSeed::Fixed(20_240_808);
    }
    config
}

/// Whatever the place at which a snapshot was taken: with the events after it, it is what all events make.
#[track_caller]
pub fn assert_replays_from_every_cut<A: Testable>(events: &[<A as Decider>::Event]) {
    let whole: A = replay(through_json(&events.to_vec()));
    for cut in 0..=events.len() {
        let (before, after) = events.split_at(cut);
        let mut aggregate = through_json(&replay::<A>(before.to_vec()));
        after.iter().for_each(|event| Decider::apply(&mut aggregate, event));
        assert_eq!(aggregate, whole, "snapshot after {cut} of {} events", events.len());
    }
}
