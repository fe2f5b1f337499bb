//! Loads the whole server for an hour at half of what it can do, and watches its memory.
//!
//! Deposits come over HTTP and GraphQL in an open loop, one a request, at half the rate that 64 clients reached in a closed
//! one just before. The server is `daybook serve` as a process of its own; its resident memory is read every second from
//! `/proc`, without PostgreSQL's. It fails when that is above 1.5 GB, or when it has grown by more than a tenth since the
//! first sixth of the time, in which caches fill.
//!
//! `SECONDS` is the length (default 3,600). Ctrl-C ends it early, and so does a disk that is nearly full; the figures so far
//! are kept under a name that tells the time. They go to `target/bench/summary.json`.

#[path = "../../../commands/benches/support/mod.rs"]
mod support;
mod watch;
#[path = "../support/mod.rs"]
mod whole;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use domain::ids::AccountId;
use event_store::embedded::Role;

use support::load::{Load, own_account};
use support::open_loop::OpenLoop;
use support::ours::Ours;
use support::summary::Measurement;
use support::{cluster, summary};
use whole::client::{Client, Deposited};
use whole::server::Server;

/// As in the server.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What a row is named after.
const HOUR: u64 = 3_600;
/// Clients that look for the peak, and for how long.
const CLIENTS: usize = 64;
const PEAK: Duration = Duration::from_secs(10);
/// 1.5 GB.
const MOST_MIB: f64 = 1_536.0;
/// Above this it counts as growing.
const MOST_GROWTH: f64 = 1.1;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let seconds = match std::env::var("SECONDS") {
        Ok(text) => text.parse().context("SECONDS must be a number of seconds")?,
        Err(_) => HOUR,
    };
    let own = cluster::start().await?;
    let superuser = cluster::pool(&own, Role::Superuser, 2).await?;
    cluster::print_settings(&superuser).await?;
    event_store::migrate(&own.connect_options(Role::Migrator)).await?;
    let app = cluster::pool(&own, Role::App, 8).await?;
    let bus = Ours::start(app.clone()).await?;
    println!("opening {} accounts", cluster::ACCOUNTS);
    let accounts: Arc<[AccountId]> = bus.open_accounts(cluster::ACCOUNTS).await?.into();
    bus.stop().await;
    println!("starting the server");
    let server = Server::start(&own, app, bus.log.read_head().await?).await?;

    let load = cluster::begin(&superuser, "the peak", CLIENTS, PEAK).await?;
    let load = Load { warm_up: cluster::NEW_LEADER_WARM_UP, ..load };
    let (client, of_peak) = (server.client.clone(), Arc::clone(&accounts));
    let peak = load
        .run(move |place, number| {
            let account = own_account(&of_peak, load.clients, place, number).clone();
            let client = client.clone();
            async move {
                ensure!(client.deposit(&account).await? == Deposited::Accepted, "a deposit was not answered");
                Ok(())
            }
        })
        .await?;
    let open_loop =
        OpenLoop { rate: peak.rate / 2.0, warm_up: Duration::ZERO, length: Duration::from_secs(seconds) };
    println!("{:.0} deposits/s at most, now {:.0} for {seconds} s", peak.rate, open_loop.rate);

    let (stop, unanswered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (client, failed) = (server.client.clone(), Arc::clone(&unanswered));
    let loading = tokio::spawn(open_loop.run_until(Arc::clone(&stop), move |number| {
        deposit(client.clone(), own_account(&accounts, 1, 0, number).clone(), Arc::clone(&failed))
    }));
    let samples = watch::until_over(&server, seconds, &loading).await;
    stop.store(true, Ordering::Relaxed);
    let latencies = loading.await??;
    let samples = samples?;

    let (first, last) = (samples.after_a_sixth(), samples.at_the_end());
    let at = samples.seconds();
    let name =
        if at >= HOUR { "memory/rss-after-hour".to_owned() } else { format!("memory/rss-after-{at}s") };
    println!(
        "{} deposits, {} of them not answered in time; p50 {:.2} ms, p99 {:.2} ms; {:.0} MiB at most",
        latencies.count,
        unanswered.load(Ordering::Relaxed),
        latencies.at(0.5),
        latencies.at(0.99),
        samples.most()
    );
    summary::write(&[Measurement::new(&name, "MiB", last, "after a sixth", first)])?;
    ensure!(samples.most() <= MOST_MIB, "{:.0} MiB are more than {MOST_MIB:.0}", samples.most());
    ensure!(last <= first * MOST_GROWTH, "memory has grown from {first:.0} to {last:.0} MiB");
    Ok(())
}

/// A server that says it is busy is no failure in an hour, but it is told.
async fn deposit(client: Client, account: AccountId, unanswered: Arc<AtomicU64>) -> anyhow::Result<()> {
    if client.deposit(&account).await? == Deposited::Unavailable {
        unanswered.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
