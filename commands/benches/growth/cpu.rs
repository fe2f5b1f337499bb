//! Processor time of PostgreSQL's processes, which a busy machine disturbs less than time on the clock.

use std::time::Duration;

use anyhow::Context;
use sqlx::PgPool;

/// What all server processes that run now have used since each began.
pub async fn used(superuser: &PgPool) -> anyhow::Result<Duration> {
    let pids: Vec<i32> = sqlx::query_scalar("SELECT pid FROM pg_stat_activity").fetch_all(superuser).await?;
    let ticks: u64 = pids.into_iter().filter_map(|pid| ticks(pid).ok()).sum();
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// User and system time of a process, by the 14th and 15th field of proc(5)'s `stat`.
fn ticks(pid: i32) -> anyhow::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(')').context("a name in parentheses")?;
    let mut times = fields.split_whitespace().skip(11).take(2);
    let mut next = || anyhow::Ok(times.next().context("two times")?.parse::<u64>()?);
    Ok(next()? + next()?)
}
