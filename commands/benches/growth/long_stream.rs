//! What the length of its stream costs an account: a deposit into one of a million events beside a deposit into one of ten,
//! one client, in turns, so that both have the same machine.

use std::time::Instant;

use commands::BusSettings;
use commands::testing::deposit;
use domain::ids::AccountId;
use event_store::embedded::Role;
use hdrhistogram::Histogram;

use crate::support::cluster;
use crate::support::ours::{CHUNK, Ours};
use crate::support::summary::Measurement;

/// Events of a short stream.
const SHORT: u64 = 10;
/// Deposits of each kind while the accounts are in memory, each into another short stream.
const WARM: usize = 1_000;
/// Deposits of each kind after which the account has been forgotten.
const COLD: usize = 200;
/// So few that a stream is forgotten as soon as some others were touched.
const CACHED: usize = 8;
/// Others that are touched, more than fit.
const OTHERS: usize = 4 * CACHED;

/// Rows for an append, and for a cold load and an append, to a stream of `events`.
pub async fn measure(events: u64) -> anyhow::Result<Vec<Measurement>> {
    let own = cluster::start().await?;
    let superuser = cluster::pool(&own, Role::Superuser, 2).await?;
    event_store::migrate(&own.connect_options(Role::Migrator)).await?;
    let pool = cluster::pool(&own, Role::App, 8).await?;

    let ours = Ours::start(pool.clone()).await?;
    // Each comes with two events.
    let mut accounts = ours.open_accounts(1 + WARM + OTHERS).await?;
    let others = accounts.split_off(1 + WARM);
    let (long, short) = (accounts.remove(0), accounts);
    for _ in 2..SHORT {
        ours.accepted(short.iter().map(|account| deposit(account, "1.00"))).await?;
    }
    let label = crate::label(events);
    println!("a stream of {label} events");
    let mut length = 2;
    while length < events {
        let some = (events - length).min(CHUNK as u64);
        ours.accepted((0..some).map(|_| deposit(&long, "1.00"))).await?;
        length += some;
    }
    sqlx::raw_sql("CHECKPOINT").execute(&superuser).await?;
    let warm = in_turns(&ours, &long, &short, WARM, &[]).await?;
    ours.stop().await;

    let settings = BusSettings { cached_aggregates: CACHED, ..BusSettings::default() };
    let ours = Ours::start_with(pool, settings).await?;
    let cold = in_turns(&ours, &long, &short, COLD, &others).await?;
    ours.stop().await;

    let row = |suffix: &str, (of_long, of_short): (f64, f64)| {
        let name = format!("stream/{label}-vs-{SHORT}{suffix}");
        Measurement::new(&name, "ms", of_long, &format!("{SHORT} events"), of_short)
    };
    Ok(vec![row("", warm), row("-cold", cold)])
}

/// Medians in milliseconds of deposits into the long stream and into short ones. `others` are touched before each, so that
/// it has to be loaded.
async fn in_turns(
    ours: &Ours,
    long: &AccountId,
    short: &[AccountId],
    turns: usize,
    others: &[AccountId],
) -> anyhow::Result<(f64, f64)> {
    let mut of_long = Histogram::<u64>::new(3)?;
    let mut of_short = Histogram::<u64>::new(3)?;
    for turn in 0..turns {
        for (account, histogram) in [(long, &mut of_long), (&short[turn % short.len()], &mut of_short)] {
            if !others.is_empty() {
                ours.accepted(others.iter().map(|account| deposit(account, "1.00"))).await?;
            }
            let begun = Instant::now();
            ours.accepted([deposit(account, "1.00")].into_iter()).await?;
            histogram.record(u64::try_from(begun.elapsed().as_micros())?)?;
        }
    }
    let median = |histogram: &Histogram<u64>| histogram.value_at_quantile(0.5) as f64 / 1_000.0;
    Ok((median(&of_long), median(&of_short)))
}
