//! One run: clients and readers work, faults follow each other, and after each one everything is checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use event_store::Log;
use event_store::embedded::Role;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use sqlx::PgPool;
use tokio::task::JoinSet;

use crate::daybook;
use crate::faults::{Breaker, Fault, Limits};
use crate::findings::{Check, Findings};
use crate::house::{Database, House, Setting};
use crate::journal::Journal;
use crate::load::Load;
use crate::log_check::{LogCheck, bank, keys_lie_beside};
use crate::sabotage::Sabotage;
use crate::scene::Scene;
use crate::settle::settle;
use crate::snapshots::{self, Standing};

/// How long what must happen may take when no promise is measured: only a failing run waits for it.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same after a sabotage: then it need not happen.
const SHORT_PATIENCE: Duration = Duration::from_secs(6);
/// How much time a check of a long run spends on read models, except the last one, which compares them all.
const VERIFYING: Duration = Duration::from_secs(1);

/// What a run does.
#[derive(Clone, Debug)]
pub struct Plan {
    pub setting: Setting,
    /// Decides on the order of the faults, their times and what clients ask.
    pub seed: u64,
    /// In this order; a run with a time shuffles and repeats them.
    pub faults: Vec<Fault>,
    /// Goes on until so much time has passed.
    pub time: Option<Duration>,
    pub limits: Limits,
    /// The longest time for which anything is frozen or silent, in seconds.
    pub longest: u64,
    /// What is broken in the database itself before the first fault.
    pub sabotage: Option<Sabotage>,
}

impl Plan {
    fn patience(&self) -> Duration {
        if self.sabotage.is_some() { SHORT_PATIENCE } else { PATIENCE }
    }
}

/// What a run has come to.
pub struct Outcome {
    pub findings: Findings,
    folder: Option<tempfile::TempDir>,
}

impl Outcome {
    /// Fails with what was found and says where to look; the folder stays then.
    pub fn expect_nothing(self) {
        if self.findings.checks().is_empty() {
            return;
        }
        let folder = self.folder.map(tempfile::TempDir::keep);
        panic!("{}\n{}", self.findings.report(), where_to_look(folder.as_deref()));
    }

    /// Fails unless the check has found something: a harness that does not see this sees nothing.
    pub fn expect_found(self, check: Check) {
        let found = self.findings.checks();
        if found.contains(&check) {
            println!("seen by {found:?}");
            return;
        }
        let folder = self.folder.map(tempfile::TempDir::keep);
        panic!("{check:?} did not see it, {found:?} did\n{}", where_to_look(folder.as_deref()));
    }
}

fn where_to_look(folder: Option<&Path>) -> String {
    let folder = folder.map(PathBuf::from).unwrap_or_default();
    format!(
        "kept in {0}: journal.ndjson is what clients asked and were told, *.log what the servers logged. \
         `daybook --data-dir {0}/node-1` serves a private cluster again; docs/runbooks/torture.md says how to read them",
        folder.display()
    )
}

struct Run {
    plan: Plan,
    house: House,
    scene: Scene,
    load: Load,
    log: LogCheck,
    findings: Findings,
    random: StdRng,
    begun: Instant,
    /// The read model that is verified next.
    verified: usize,
}

/// Does what the plan says. An error is what this machine does not permit.
pub async fn run(plan: Plan) -> Result<Outcome, String> {
    println!("{:?} with TORTURE_SEED={}", plan.setting, plan.seed);
    let folder = daybook::folder();
    let findings = Findings::default();
    let house = House::start(plan.setting, folder.path()).await?;
    house.client.ready().await;
    let scene = Scene::set_up(&house.client).await;
    let journal = Arc::new(Journal::create(folder.path()));
    let load = Load::new(&house.client, &house.addresses, &journal, &findings, &scene);
    let random = StdRng::seed_from_u64(plan.seed);
    let (mut clients, mut readers) = (load.start(plan.seed), snapshots::start(&load));
    let begun = Instant::now();
    let log = LogCheck::default();
    let mut run = Run { plan, house, scene, load, log, findings, random, begun, verified: 0 };
    run.suffer().await;
    run.load.stop();
    joined(&mut clients).await;
    joined(&mut readers).await;
    run.check_finally().await;
    let stopped = run.house.stop_nodes();
    run.findings.expect(stopped, Check::ServerStays, || "a server did not stop in order".to_owned());
    let Run { mut house, findings, .. } = run;
    if !findings.checks().is_empty() {
        house.keep();
    }
    drop(house);
    Ok(Outcome { findings, folder: Some(folder) })
}

async fn joined(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

impl Run {
    async fn suffer(&mut self) {
        self.expect_progress(100).await;
        if let Some(sabotage) = self.plan.sabotage {
            let database = self.database(Role::Superuser).await;
            sabotage.commit(&database.pool).await;
            database.close().await;
            self.expect_progress(100).await;
        }
        loop {
            let mut faults = self.plan.faults.clone();
            if self.plan.time.is_some() {
                faults.shuffle(&mut self.random);
            }
            for fault in faults {
                if self.plan.time.is_some_and(|time| self.begun.elapsed() > time) {
                    return;
                }
                let before = self.random.random_range(5..60);
                self.expect_progress(before).await;
                self.load.journal.remark(&format!("{fault:?}"));
                let told = self.inflict(fault).await;
                self.load.journal.remark(&format!("{fault:?}: {told}"));
                let after = self.random.random_range(20..80);
                self.expect_progress(after).await;
                // A short run compares one of them each time.
                let verifying = if self.plan.time.is_some() { VERIFYING } else { Duration::ZERO };
                self.check(Some(verifying)).await;
                println!(
                    "[{:6.1} s] {fault:?}: {told} | {} acknowledged, {} events",
                    self.begun.elapsed().as_secs_f64(),
                    self.load.acknowledged(),
                    self.log.len()
                );
            }
            if self.plan.time.is_none() {
                return;
            }
        }
    }

    async fn inflict(&mut self, fault: Fault) -> String {
        let mut breaker = Breaker {
            house: &mut self.house,
            load: &self.load,
            scene: &self.scene,
            limits: self.plan.limits,
            longest: self.plan.longest,
            random: &mut self.random,
        };
        breaker.inflict(fault).await
    }

    async fn expect_progress(&self, count: u64) {
        let patience = self.plan.patience();
        let came = self.load.more(count, patience).await;
        self.findings.expect(came, Check::ResumesInTime, || {
            format!("{count} acknowledged requests do not come within {} s", patience.as_secs())
        });
    }

    /// Nobody sends meanwhile.
    async fn check(&mut self, verifying: Option<Duration>) {
        let paused = self.load.pause().await;
        let judged = self.log.judged();
        settle(&self.load, judged, &mut self.random, self.plan.patience()).await;
        for number in self.house.dead_nodes() {
            self.findings.note(Check::ServerStays, format!("server {number} has ended by itself"));
        }
        let database = self.database(Role::App).await;
        let entries = self.load.journal.since(judged);
        self.log.read(&database.pool, &self.findings).await.unwrap();
        self.log.judge(&entries, &self.findings);
        keys_lie_beside(&database.pool, &entries, &self.findings).await.unwrap();
        self.compare_accounts(&database.pool).await;
        self.verify(&database.pool, verifying).await;
        database.close().await;
        drop(paused);
    }

    /// Everything, from the beginning, with nobody about.
    async fn check_finally(&mut self) {
        self.expect_expiries().await;
        self.check(None).await;
        let database = self.database(Role::App).await;
        let entries = self.load.journal.since(0);
        let mut whole = LogCheck::default();
        whole.read(&database.pool, &self.findings).await.unwrap();
        whole.judge(&entries, &self.findings);
        whole.nothing_else(&entries, &self.findings);
        keys_lie_beside(&database.pool, &entries, &self.findings).await.unwrap();
        database.close().await;
        println!(
            "[{:6.1} s] {} requests, {} acknowledged, {} events, {}; found: {:?}",
            self.begun.elapsed().as_secs_f64(),
            entries.len(),
            self.load.acknowledged(),
            whole.len(),
            whole.holds.summary(),
            self.findings.checks()
        );
    }

    /// Holds whose time has come end although nobody touches their accounts.
    async fn expect_expiries(&mut self) {
        let database = self.database(Role::App).await;
        let begun = Instant::now();
        loop {
            self.log.read(&database.pool, &self.findings).await.unwrap();
            let expiring = self.log.holds.expiring();
            if expiring.is_empty() {
                break;
            }
            if begun.elapsed() > self.plan.patience() {
                self.findings.note(Check::HoldExpiry, format!("{expiring:?} do not expire"));
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        database.close().await;
    }

    /// The bank over GraphQL, of every server, is the fold of the log.
    async fn compare_accounts(&mut self, pool: &PgPool) {
        for address in self.load.addresses.all() {
            let begun = Instant::now();
            let found = loop {
                let end = self.log.len() as u64;
                match snapshots::snapshot(&self.load, address, Some(end)).await {
                    Some(found) if found.read_at == end => break found.accounts,
                    _ if begun.elapsed() > self.plan.patience() => {
                        let missing = format!("{address} does not show {end}");
                        return self.findings.note(Check::ReadsOwnWrites, missing);
                    }
                    // A hold has expired meanwhile.
                    Some(_) => self.log.read(pool, &self.findings).await.unwrap(),
                    None => {}
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            let expected = bank(&self.log, &self.scene);
            let balances =
                |bank: &[Standing]| -> Vec<i128> { bank.iter().map(|account| account.balance).collect() };
            let held = |bank: &[Standing]| -> Vec<i128> { bank.iter().map(|account| account.held).collect() };
            let details = || format!("the log says {expected:?}, {address} {found:?}");
            self.findings.expect(balances(&found) == balances(&expected), Check::Balances, details);
            self.findings.expect(held(&found) == held(&expected), Check::Held, details);
        }
    }

    /// Folds the log aside and compares read models with it: all, or as many as there is time for, taken round.
    async fn verify(&mut self, pool: &PgPool, time: Option<Duration>) {
        let (begun, names) = (Instant::now(), projections::names());
        let log = Log::open(pool.clone()).await.unwrap();
        for _ in 0..names.len() {
            let name = names[self.verified % names.len()];
            self.verified += 1;
            match projections::verify(pool, &log, name, 3, |_| {}).await {
                Ok(verified) => self.findings.expect(verified.differing == 0, Check::ReadModels, || {
                    format!("{name}: {} rows differ, such as {:?}", verified.differing, verified.differences)
                }),
                Err(error) => self.findings.note(Check::ReadModels, format!("{name}: {error}")),
            }
            if time.is_some_and(|time| begun.elapsed() > time) {
                break;
            }
        }
    }

    /// A way into the database; PostgreSQL may still be recovering.
    async fn database(&self, role: Role) -> Database {
        let begun = Instant::now();
        loop {
            match self.house.connect(role).await {
                Ok(database) => return database,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "the database does not come back: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
