//! How much the server takes on at once, as settings. Over a limit the answer is `OVERLOADED`, at once.
//!
//! The defaults are those of [`BusSettings`] and [`HttpLimits`]; a test holds them equal.

use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use commands::bus::BusSettings;

use crate::http::HttpLimits;

const HEADING: &str = "Limits";

/// A number that is not zero and not absurd.
fn count() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=10_000_000)
}

/// Room for at least one request of the greatest size, and no more than can be counted.
fn bytes() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(65_536..=4_294_967_295)
}

/// A time that is not zero and not absurd.
fn time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let sane = Duration::from_millis(100)..=Duration::from_secs(3_600);
    if sane.contains(&time) { Ok(time) } else { Err("give a time from 100ms to 1h".to_owned()) }
}

/// Keys have to outlive the longest wait of a client that asks again.
fn retention(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let sane = Duration::from_secs(3_600)..=Duration::from_secs(10 * 365 * 86_400);
    if sane.contains(&time) {
        Ok(time)
    } else {
        Err("give a time from 1h to 10 years, such as 7d".to_owned())
    }
}

/// How much is taken on at once.
#[derive(Args, Clone, Debug)]
pub struct LimitSettings {
    /// Commands between arrival and answer
    #[arg(long, env = "DAYBOOK_QUEUE_REQUESTS", default_value = "32768", value_name = "COUNT", value_parser = count(), help_heading = HEADING)]
    pub queue_requests: usize,
    /// What they may take together: their JSON, and 1 KiB each
    #[arg(long, env = "DAYBOOK_QUEUE_BYTES", default_value = "134217728", value_name = "BYTES", value_parser = bytes(), help_heading = HEADING)]
    pub queue_bytes: usize,
    /// Commands in one commit
    #[arg(long, env = "DAYBOOK_BATCH_COMMANDS", default_value = "512", value_name = "COUNT", value_parser = count(), help_heading = HEADING)]
    pub batch_commands: usize,
    /// Events after which a commit takes no further command
    #[arg(long, env = "DAYBOOK_BATCH_EVENTS", default_value = "1024", value_name = "COUNT", value_parser = count(), help_heading = HEADING)]
    pub batch_events: usize,
    /// Events that one unit of work may have; atomic transfers have two each
    #[arg(long, env = "DAYBOOK_UNIT_EVENTS", default_value = "20000", value_name = "COUNT", value_parser = RangedU64ValueParser::<usize>::new().range(100..=32_768), help_heading = HEADING)]
    pub unit_events: usize,
    /// Aggregates kept in memory; those unused the longest go first
    #[arg(long, env = "DAYBOOK_CACHED_AGGREGATES", default_value = "200000", value_name = "COUNT", value_parser = count(), help_heading = HEADING)]
    pub cached_aggregates: usize,
    /// Loads of streams at the same time, each of up to 64
    #[arg(long, env = "DAYBOOK_COLD_LOADS", default_value = "12", value_name = "COUNT", value_parser = RangedU64ValueParser::<usize>::new().range(1..=20), help_heading = HEADING)]
    pub cold_loads: usize,
    /// How long a command waits for its answer before it is UNAVAILABLE
    #[arg(long, env = "DAYBOOK_COMMAND_TIMEOUT", default_value = "10s", value_name = "TIME", value_parser = time, help_heading = HEADING)]
    pub command_timeout: Duration,
    /// How long the answer under an idempotency key is kept
    #[arg(long, env = "DAYBOOK_KEY_RETENTION", default_value = "7d", value_name = "TIME", value_parser = retention, help_heading = HEADING)]
    pub key_retention: Duration,
    /// Open connections
    #[arg(long, env = "DAYBOOK_CONNECTIONS", default_value = "8192", value_name = "COUNT", value_parser = count(), help_heading = HEADING)]
    pub connections: usize,
    /// Requests worked on at the same time
    #[arg(long, env = "DAYBOOK_REQUESTS", default_value = "1024", value_name = "COUNT", value_parser = count(), help_heading = HEADING)]
    pub requests: usize,
    /// Bytes of one request's body or of one WebSocket message
    #[arg(long, env = "DAYBOOK_BODY_BYTES", default_value = "6291456", value_name = "BYTES", value_parser = bytes(), help_heading = HEADING)]
    pub body_bytes: usize,
    /// Bytes of all bodies that are worked on at the same time
    #[arg(long, env = "DAYBOOK_BODIES_BYTES", default_value = "268435456", value_name = "BYTES", value_parser = bytes(), help_heading = HEADING)]
    pub bodies_bytes: usize,
    /// How long a request's head may take to arrive, and a connection may be idle
    #[arg(long, env = "DAYBOOK_HEADER_TIMEOUT", default_value = "30s", value_name = "TIME", value_parser = time, help_heading = HEADING)]
    pub header_timeout: Duration,
    /// How long a request may take, the arrival of its body included
    #[arg(long, env = "DAYBOOK_REQUEST_TIMEOUT", default_value = "30s", value_name = "TIME", value_parser = time, help_heading = HEADING)]
    pub request_timeout: Duration,
    /// Open WebSockets
    #[arg(long, env = "DAYBOOK_SOCKETS", default_value = "4096", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000_000), help_heading = HEADING)]
    pub sockets: u32,
    /// Operations running on one WebSocket
    #[arg(long, env = "DAYBOOK_SOCKET_OPERATIONS", default_value = "100", value_name = "COUNT", value_parser = count(), help_heading = HEADING)]
    pub socket_operations: usize,
    /// Answers put together at the same time for one WebSocket; more wait their turn
    #[arg(long, env = "DAYBOOK_SOCKET_ANSWERS", default_value = "4", value_name = "COUNT", value_parser = count(), help_heading = HEADING)]
    pub socket_answers: usize,
}

impl Default for LimitSettings {
    fn default() -> Self {
        let (bus, http) = (BusSettings::default(), HttpLimits::default());
        Self {
            queue_requests: bus.queue,
            queue_bytes: bus.queue_bytes,
            batch_commands: bus.batch_commands,
            batch_events: bus.batch_events,
            unit_events: bus.unit_events,
            cached_aggregates: bus.cached_aggregates,
            cold_loads: bus.loads,
            command_timeout: bus.patience,
            key_retention: bus.key_retention,
            connections: http.connections,
            requests: http.concurrent_requests,
            body_bytes: http.body_bytes,
            bodies_bytes: http.bodies_bytes,
            header_timeout: http.header_timeout,
            request_timeout: http.request_timeout,
            sockets: http.sockets,
            socket_operations: http.subscriptions_per_socket,
            socket_answers: http.answers_per_socket,
        }
    }
}

impl LimitSettings {
    /// Those of the command bus.
    pub fn bus(&self) -> BusSettings {
        BusSettings {
            queue: self.queue_requests,
            queue_bytes: self.queue_bytes,
            batch_commands: self.batch_commands,
            batch_events: self.batch_events,
            unit_events: self.unit_events,
            cached_aggregates: self.cached_aggregates,
            loads: self.cold_loads,
            patience: self.command_timeout,
            key_retention: self.key_retention,
            ..BusSettings::default()
        }
    }

    /// Those of HTTP.
    pub fn http(&self) -> HttpLimits {
        HttpLimits {
            connections: self.connections,
            concurrent_requests: self.requests,
            body_bytes: self.body_bytes,
            // One of the greatest size has room.
            bodies_bytes: self.bodies_bytes.max(self.body_bytes),
            header_timeout: self.header_timeout,
            request_timeout: self.request_timeout,
            sockets: self.sockets,
            subscriptions_per_socket: self.socket_operations,
            answers_per_socket: self.socket_answers,
            ..HttpLimits::default()
        }
    }

    /// Each limit beside its use, for the metrics.
    pub fn publish(&self) {
        let limits = [
            ("queue_requests", self.queue_requests),
            ("queue_bytes", self.queue_bytes),
            ("batch_commands", self.batch_commands),
            ("batch_events", self.batch_events),
            ("unit_events", self.unit_events),
            ("cached_aggregates", self.cached_aggregates),
            ("cold_loads", self.cold_loads),
            ("connections", self.connections),
            ("requests", self.requests),
            ("body_bytes", self.body_bytes),
            ("bodies_bytes", self.bodies_bytes),
            ("sockets", self.sockets as usize),
            ("socket_operations", self.socket_operations),
            ("socket_answers", self.socket_answers),
        ];
        for (limit, value) in limits {
            metrics::gauge!("daybook_limit", "limit" => limit).set(value as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<LimitSettings, clap::Error> {
        let command = LimitSettings::augment_args(clap::Command::new("daybook").no_binary_name(true));
        LimitSettings::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn the_defaults_are_those_of_the_bus_and_of_http() {
        let parsed = parse(&[]).unwrap();
        assert_eq!(format!("{parsed:?}"), format!("{:?}", LimitSettings::default()));
        assert_eq!(format!("{:?}", parsed.bus()), format!("{:?}", BusSettings::default()));
        assert_eq!(parsed.http(), HttpLimits::default());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in [
            ["--queue-requests", "0"],
            ["--queue-bytes", "10"],
            ["--queue-bytes", "much"],
            ["--unit-events", "40000"],
            ["--cold-loads", "1000"],
            ["--command-timeout", "0s"],
            ["--key-retention", "1s"],
            ["--sockets", "-1"],
        ] {
            assert!(parse(&wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(parse(&["--queue-requests", "7"]).unwrap().bus().queue, 7);
    }
}
