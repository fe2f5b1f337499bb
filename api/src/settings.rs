//! Settings, from flags and the environment.

mod limits;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use commands::PeerSettings;
use processes::feed::Speed;

pub use limits::LimitSettings;

/// Where the log and the keys are.
#[derive(Args, Clone, Debug)]
pub struct StoreSettings {
    /// Folder of the keys and, without a database URL, of the private PostgreSQL cluster
    #[arg(long, env = "DAYBOOK_DATA_DIR", default_value = ".daybook", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// An outside PostgreSQL 15 or newer, as the role daybook_app [default: a private cluster in the data folder]
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// The same database as the role daybook_migrator, to bring its schema up to date at the start
    #[arg(long, env = "DAYBOOK_MIGRATION_URL", hide_env_values = true, value_name = "URL")]
    pub migration_url: Option<String>,
}

/// How the server runs.
#[derive(Args, Clone, Debug)]
pub struct ServeSettings {
    /// Where to listen
    #[arg(long, env = "DAYBOOK_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Where to take the commands that other servers on the same database URL forward while this one leads [default: a
    /// free port of the address of --listen; with the private cluster there are no other servers]
    #[arg(long, env = "DAYBOOK_PEER_LISTEN", value_name = "ADDRESS")]
    pub peer_listen: Option<SocketAddr>,
    /// How the other servers reach that: a host, or a host and a port [default: the address itself, or this machine's
    /// name when it is 0.0.0.0]
    #[arg(long, env = "DAYBOOK_PEER_ADVERTISE", value_name = "HOST[:PORT]")]
    pub peer_advertise: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show it as the group's help")]
    pub store: StoreSettings,
    /// Markets BTC-USDT and ETH-USDT, a demo trader, and the recorded traffic that they trade on [default: true with
    /// the private cluster, false with a database URL]
    #[arg(long, env = "DAYBOOK_DEMO", value_name = "BOOL")]
    pub demo: Option<bool>,
    /// How fast the recorded traffic plays: 1 as it was, 10 ten times as fast, 0 not at all
    #[arg(long, env = "DAYBOOK_FEED_SPEED", default_value = "1", value_name = "FACTOR", value_parser = parse_speed, allow_negative_numbers = true)]
    pub feed_speed: FeedSpeed,
    /// How long single trades of outside markets are kept, such as 24h or 7d; prices by the second are kept for ever
    #[arg(long, env = "DAYBOOK_TICK_RETENTION", default_value = "7d", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub tick_retention: Duration,
    /// Start even if the database role may alter events, which nothing then prevents
    #[arg(long, env = "DAYBOOK_ALLOW_UNSAFE_ROLE")]
    pub allow_unsafe_role: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show it as the group's help")]
    pub limits: LimitSettings,
}

/// How the server's log is written.
#[derive(Args, Clone, Debug)]
pub struct LogSettings {
    /// For people or as JSON, a line an event
    #[arg(long, env = "DAYBOOK_LOG_FORMAT", default_value = "people", value_name = "FORMAT", global = true)]
    pub log_format: LogFormat,
    /// How much: error, warn, info, debug or trace, also by part, as in info,event_store=debug
    #[arg(long, env = "DAYBOOK_LOG", default_value = "info,sqlx=warn", value_name = "FILTER", global = true)]
    pub log: String,
}

/// See [`LogSettings::log_format`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    People,
    /// One JSON object a line.
    Json,
}

/// How fast the recorded traffic plays; `None` inside is not at all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FeedSpeed(pub Option<Speed>);

fn parse_speed(text: &str) -> Result<FeedSpeed, String> {
    if text.trim() == "0" {
        return Ok(FeedSpeed(None));
    }
    text.parse().map(|speed| FeedSpeed(Some(speed))).map_err(|error| format!("{error}; 0 stops the feed"))
}

impl StoreSettings {
    /// The outside database, if one is given; an empty setting is none.
    pub fn database_url(&self) -> Option<&str> {
        self.database_url.as_deref().filter(|url| !url.is_empty())
    }

    /// The same database to migrate, if it is given; an empty setting is none.
    pub fn migration_url(&self) -> Option<&str> {
        self.migration_url.as_deref().filter(|url| !url.is_empty())
    }
}

impl ServeSettings {
    /// Whether the demo is wanted.
    pub fn wants_demo(&self) -> bool {
        self.demo.unwrap_or(self.store.database_url().is_none())
    }

    /// How this server and others on the same database work together; a private cluster has one server.
    pub fn peer(&self) -> Option<PeerSettings> {
        self.store.database_url()?;
        let listen = self.peer_listen.unwrap_or_else(|| SocketAddr::new(self.listen.ip(), 0));
        let given = self.peer_advertise.clone().filter(|host| !host.is_empty());
        let advertise = given.or_else(|| listen.ip().is_unspecified().then(host_name));
        Some(PeerSettings { listen, advertise })
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_file_names_every_setting_with_its_default() {
        let example = include_str!("../../.env.example");
        let command = LogSettings::augment_args(ServeSettings::augment_args(clap::Command::new("daybook")));
        for argument in command.get_arguments() {
            let Some(variable) = argument.get_env().and_then(|name| name.to_str()) else { continue };
            let line = match argument.get_default_values().first().and_then(|value| value.to_str()) {
                Some(default) if argument.get_action().takes_values() => format!("\n{variable}={default}\n"),
                _ => format!("\n#{variable}="),
            };
            assert!(example.contains(&line), "{line:?} is missing in .env.example");
        }
    }

    #[test]
    fn servers_on_one_database_find_each_other_without_settings() {
        use clap::{Args as _, FromArgMatches as _};
        let peer = |arguments: &[&str]| {
            let command = ServeSettings::augment_args(clap::Command::new("daybook"));
            let matches = command.get_matches_from([&["daybook"], arguments].concat());
            ServeSettings::from_arg_matches(&matches).unwrap().peer()
        };
        let settings = |listen: &str, advertise: Option<&str>| {
            Some(PeerSettings { listen: listen.parse().unwrap(), advertise: advertise.map(str::to_owned) })
        };
        let database = ["--database-url", "postgresql://daybook_app@localhost/daybook"];
        let with = |more: &[&'static str]| peer(&[&database[..], more].concat());
        assert_eq!(peer(&["--peer-listen", "127.0.0.1:7070"]), None, "a private cluster has one server");
        assert_eq!(with(&[]), settings("127.0.0.1:0", None));
        assert_eq!(with(&["--listen", "10.0.0.1:80"]), settings("10.0.0.1:0", None));
        assert_eq!(with(&["--listen", "0.0.0.0:80"]), settings("0.0.0.0:0", Some(&host_name())));
        assert_eq!(
            with(&["--peer-listen", "0.0.0.0:7070", "--peer-advertise", "daybook-1"]),
            settings("0.0.0.0:7070", Some("daybook-1"))
        );
    }

    #[test]
    fn no_speed_is_no_feed() {
        assert_eq!(parse_speed("0"), Ok(FeedSpeed(None)));
        assert_eq!(parse_speed("1"), Ok(FeedSpeed(Some(Speed::REAL))));
        for wrong in ["", "-1", "fast", "1e3"] {
            assert!(parse_speed(wrong).is_err(), "{wrong}");
        }
    }
}
