//! The long run, `make torture SECONDS=…`: every setting for its share of the time, faults in an order that the seed says.

use std::time::Duration;

use crate::faults::{Fault, Limits};
use crate::house::Setting;
use crate::run::{Plan, run};

/// A setting's share of the time, in parts of ten.
const SHARES: [(Setting, u32); 3] =
    [(Setting::Private, 4), (Setting::SmallDisk, 2), (Setting::Outside(1), 4)];

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs as long as it is told: make torture SECONDS=…"]
async fn torture() {
    let seconds = number("TORTURE_SECONDS").unwrap_or(300);
    let seed = number("TORTURE_SEED").unwrap_or_else(rand::random);
    for (setting, share) in SHARES {
        let plan = Plan {
            setting,
            seed,
            faults: Fault::of(setting),
            time: Some(Duration::from_secs(seconds) * share / 10),
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
