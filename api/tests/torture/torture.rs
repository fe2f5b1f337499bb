//! The long run, `make torture SECONDS=…`: every setting for its share of the time, faults in an order that the seed says.

use std::time::Duration;

use crate::faults::{Fault, Limits};
use crate::house::Setting;
use crate::run::{Plan, run};

/// Servers on one database, unless TORTURE_NODES says otherwise.
const NODES: u64 = 3;

/// The settings by name, with their shares of the time in parts of ten.
fn settings() -> [(&'static str, Setting, u32); 4] {
    let nodes = number("TORTURE_NODES").unwrap_or(NODES).max(1) as usize;
    [
        ("private", Setting::Private, 3),
        ("disk", Setting::SmallDisk, 1),
        ("wire", Setting::Outside(1), 2),
        ("nodes", Setting::Outside(nodes), 4),
    ]
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs as long as it is told: make torture SECONDS=…"]
async fn torture() {
    let seconds = number("TORTURE_SECONDS").unwrap_or(300);
    let seed = number("TORTURE_SEED").unwrap_or_else(rand::random);
    let only = std::env::var("TORTURE_SETTING").unwrap_or_default();
    let chosen: Vec<_> =
        settings().into_iter().filter(|(name, ..)| only.is_empty() || only == *name).collect();
    assert!(!chosen.is_empty(), "TORTURE_SETTING={only}: choose private, disk, wire or nodes");
    let shares: u32 = chosen.iter().map(|(.., share)| share).sum();
    for (_, setting, share) in chosen {
        let plan = Plan {
            setting,
            seed,
            faults: Fault::of(setting),
            time: Some(Duration::from_secs(seconds) * share / shares),
            limits: Limits::promised_times(1),
            longest: 20,
            sabotage: None,
        };
        match run(plan).await {
            Ok(outcome) => outcome.expect_nothing(),
            Err(why) => println!("SKIPPED {setting:?}: this machine does not permit it: {why}"),
        }
    }
}
