//! Canaries: with one guard taken away, the run must fail, and the check that guards it must be the one to say so.

use crate::faults::{Fault, Limits};
use crate::findings::Check;
use crate::house::Setting;
use crate::run::{Plan, run};
use crate::sabotage::Sabotage;

async fn sees(sabotage: Sabotage, faults: &[Fault], check: Check) {
    let plan = Plan {
        setting: Setting::Private,
        seed: 1,
        faults: faults.to_vec(),
        time: None,
        limits: Limits::promised_times(4),
        longest: 3,
        sabotage: Some(sabotage),
    };
    run(plan).await.unwrap().expect_found(check);
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_are_answered_before_they_are_durable_are_seen() {
    sees(Sabotage::NoSynchronousCommit, &[Fault::KillPostgres], Check::ExactlyOnce).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_its_unique_index_is_seen() {
    sees(Sabotage::NoStreamIndex, &[Fault::RogueWriters], Check::Streams).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_not_kept_are_seen() {
    sees(Sabotage::NoKeyRows, &[Fault::KillServer], Check::ExactlyOnce).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_epoch_that_may_append_is_seen() {
    sees(Sabotage::NoEpochCheck, &[Fault::RogueWriters], Check::RogueWriters).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_altered_movement_in_a_read_model_is_seen() {
    sees(Sabotage::AlteredMovement, &[], Check::ReadModels).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cent_more_held_in_a_read_model_is_seen() {
    sees(Sabotage::AlteredHeld, &[], Check::Held).await;
}
