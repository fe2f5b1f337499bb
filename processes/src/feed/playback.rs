//! A recording played in the present, at its own speed times a factor, pass after pass.
//!
//! Pass *n* starts when pass *n* − 1 ends. Every message keeps its distance from the start of its pass, divided by the
//! speed; trade ids are told apart by the pass. The number of the pass goes on over restarts; a restart begins a new pass,
//! because the book of the one it interrupted cannot be continued.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DurationRound, TimeDelta, Utc};
use domain::ids::Symbol;
use domain::{Decimal, Timestamp};

use crate::feed::{FeedError, FeedMessage, MarketData, MarketFeed, Pass, Recording, RecordingReader};

/// How fast a recording plays: a factor in thousandths, above zero. As text a decimal number such as `1` or `2.5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speed(u32);

impl Speed {
    /// Its own speed.
    pub const REAL: Speed = Speed(1_000);

    /// A distance in the recording as a distance in the present.
    fn shorten(self, recorded: TimeDelta) -> TimeDelta {
        let nanoseconds =
            i128::from(recorded.num_nanoseconds().unwrap_or(i64::MAX)) * 1_000 / i128::from(self.0);
        TimeDelta::nanoseconds(i64::try_from(nanoseconds).unwrap_or(i64::MAX))
    }
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let thousandths = text.parse::<Decimal>().and_then(|number| number.units_at(3));
        match thousandths.ok().and_then(|units| u32::try_from(units).ok()) {
            Some(units @ 1..=1_000_000) => Ok(Self(units)),
            _ => Err(format!("{text:?} is not a speed: give a factor from 0.001 to 1000, such as 1 or 2.5")),
        }
    }
}

/// One pass, without waiting: each message with the time at which it is due.
#[derive(Debug)]
pub struct PassPlayback {
    pass: Pass,
    started_at: Timestamp,
    speed: Speed,
    reader: RecordingReader,
    /// Receive time of the first line; none while the start of the pass is not yet told.
    first_received: Option<i64>,
    announced: bool,
    last_at: Timestamp,
}

impl PassPlayback {
    /// Pass `number` of a recording, starting at `started_at`.
    ///
    /// # Errors
    /// As [`Recording::read`].
    pub fn new(
        recording: &Recording,
        number: u64,
        started_at: Timestamp,
        speed: Speed,
    ) -> Result<Self, FeedError> {
        Ok(Self {
            pass: Pass { feed: recording.name.into(), number },
            started_at,
            speed,
            reader: recording.read()?,
            first_received: None,
            announced: false,
            last_at: started_at,
        })
    }

    fn due(&mut self, received: i64) -> Timestamp {
        let first = *self.first_received.get_or_insert(received);
        let distance = self.speed.shorten(TimeDelta::nanoseconds(received.saturating_sub(first)));
        let at =
            (self.started_at + distance).duration_trunc(TimeDelta::microseconds(1)).unwrap_or(self.last_at);
        self.last_at = self.last_at.max(at);
        self.last_at
    }
}

impl Iterator for PassPlayback {
    type Item = Result<FeedMessage, FeedError>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.announced {
            self.announced = true;
            let data = Arc::new(MarketData::PassStarted(self.pass.clone()));
            return Some(Ok(FeedMessage { at: self.started_at, data }));
        }
        Some(
            self.reader
                .next()?
                .map(|(received, data)| FeedMessage { at: self.due(received), data: Arc::new(data) }),
        )
    }
}

/// Behind by more than this, the rest of the pass moves on instead of being rushed through: after a machine has slept,
/// nobody wants hours of old market at once.
const MAX_LAG: TimeDelta = TimeDelta::seconds(10);

/// A recording played for ever.
#[derive(Debug)]
pub struct RecordedFeed {
    recording: Recording,
    symbol: Symbol,
    speed: Speed,
    playing: PassPlayback,
    /// Read, but not yet due.
    pending: Option<FeedMessage>,
}

impl RecordedFeed {
    /// Plays from now, beginning with the pass `first_pass`.
    ///
    /// # Errors
    /// As [`Recording::read`].
    pub fn start(recording: Recording, first_pass: u64, speed: Speed) -> Result<Self, FeedError> {
        let playing = PassPlayback::new(&recording, first_pass, now(), speed)?;
        Ok(Self { symbol: recording.symbol(), recording, speed, playing, pending: None })
    }

    fn read(&mut self) -> Result<FeedMessage, FeedError> {
        if let Some(message) = self.playing.next() {
            return message;
        }
        if self.playing.first_received.is_none() {
            return Err(FeedError::Empty { file: self.recording.name });
        }
        let (number, ended_at) = (self.playing.pass.number + 1, self.playing.last_at);
        self.playing = PassPlayback::new(&self.recording, number, ended_at, self.speed)?;
        self.read()
    }
}

#[async_trait::async_trait]
impl MarketFeed for RecordedFeed {
    fn symbol(&self) -> &Symbol {
        &self.symbol
    }

    async fn next(&mut self) -> Result<FeedMessage, FeedError> {
        let mut message = match self.pending.take() {
            Some(message) => message,
            None => self.read()?,
        };
        let lag = now() - message.at;
        if lag > MAX_LAG {
            self.playing.started_at += lag;
            self.playing.last_at += lag;
            message.at += lag;
        }
        let wait = (message.at - now()).to_std().unwrap_or(Duration::ZERO);
        if !wait.is_zero() {
            // Kept while waiting, so that dropping this future loses nothing.
            self.pending = Some(message.clone());
            tokio::time::sleep(wait).await;
            self.pending = None;
        }
        Ok(message)
    }
}

/// The present, to the microsecond.
pub(crate) fn now() -> Timestamp {
    let now = Utc::now();
    now.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::feed::recording::{BTC_USDT, ETH_USDT};

    fn start() -> Timestamp {
        "2030-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_pass_keeps_the_recordings_own_distances() {
        let messages: Vec<_> =
            PassPlayback::new(&BTC_USDT, 3, start(), Speed::REAL).unwrap().map(Result::unwrap).collect();
        assert_eq!(messages.len(), 41_249 + 1);
        assert_eq!(messages[0].at, start());
        assert!(matches!(&*messages[0].data, MarketData::PassStarted(pass) if pass.number == 3));
        assert_eq!(messages[1].at, start());
        // 1723161253937085768 and 1723161599999231384 ns, to the microsecond.
        assert_eq!(messages[41_249].at - start(), TimeDelta::microseconds(346_062_145));
        assert!(messages.windows(2).all(|pair| pair[0].at <= pair[1].at));
    }

    #[test]
    fn at_ten_times_the_speed_a_pass_takes_a_tenth_of_the_time() {
        let last =
            PassPlayback::new(&ETH_USDT, 1, start(), "10".parse().unwrap()).unwrap().last().unwrap().unwrap();
        let distance = last.at - start();
        assert_eq!(distance.num_seconds(), 34);
    }

    #[tokio::test]
    async fn a_pass_starts_when_the_one_before_ends() {
        let mut feed = RecordedFeed::start(ETH_USDT, 7, "1000".parse().unwrap()).unwrap();
        let mut last_at = None;
        loop {
            let message = feed.next().await.unwrap();
            if let MarketData::PassStarted(pass) = &*message.data
                && pass.number == 8
            {
                assert_eq!(Some(message.at), last_at);
                break;
            }
            last_at = Some(message.at);
        }
    }

    #[rstest]
    #[case("0")]
    #[case("-1")]
    #[case("1e3")]
    #[case("1001")]
    #[case("0.0001")]
    fn a_factor_that_is_no_speed_is_refused(#[case] text: &str) {
        assert!(text.parse::<Speed>().unwrap_err().contains("factor"));
    }
}
