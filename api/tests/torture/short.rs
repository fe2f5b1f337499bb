//! A short run of each setting, with a fixed seed: a part of the tests.

use crate::faults::{Fault, Limits};
use crate::house::Setting;
use crate::run::{Plan, run};

/// Machines that run tests are slow and busy; `make torture` holds to what is promised.
const FACTOR: u32 = 4;

async fn short(setting: Setting, faults: &[Fault]) {
    let plan = Plan {
        setting,
        seed: 1,
        faults: faults.to_vec(),
        time: None,
        limits: Limits::promised_times(FACTOR),
        longest: 3,
        sabotage: None,
    };
    match run(plan).await {
        Ok(outcome) => outcome.expect_nothing(),
        Err(why) => eprintln!("SKIPPED {setting:?}: this machine does not permit it: {why}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_its_private_cluster_survives() {
    use Fault::*;
    let faults = [KillServer, KillPostgres, FreezeServer, EndAppenders, ClockAhead, RogueWriters, KillBoth];
    short(Setting::Private, &faults).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_survived() {
    short(Setting::SmallDisk, &[Fault::FillDisk]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_wire_is_survived() {
    use Fault::*;
    short(
        Setting::Outside(1),
        &[LoseAnswer, DelayRequest, CutConnections, LoseRequest, Silence, FreezeAppenders],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loss_of_a_leader_is_survived() {
    use Fault::*;
    short(Setting::Outside(3), &[KillServer, FreezeServer, Silence]).await;
}
