//! What is done to the system, and how long it takes until writes resume.

use std::time::{Duration, Instant};

use event_store::embedded::Role;
use rand::Rng as _;
use rand::rngs::StdRng;
use rustix::process::Signal;

use crate::findings::Check;
use crate::house::{House, Setting, signal};
use crate::load::Load;
use crate::rogue::{self, Rogue};
use crate::scene::Scene;
use crate::wire::Cut;

/// Something that breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9` of the server that leads, which is started again.
    KillServer,
    /// The same, and with its successor as soon as there is one.
    KillTwoServers,
    /// The server that leads stops in order and is started again: a node leaves and joins.
    StopServer,
    /// `kill -9` of PostgreSQL: the postmaster and all backends at once.
    KillPostgres,
    /// Both.
    KillBoth,
    /// `kill -9` of a backend that appends, upon which PostgreSQL starts all of them anew.
    KillAppender,
    /// The appender's sessions are ended by an administrator.
    EndAppenders,
    /// SIGSTOP of the server that leads, SIGCONT some seconds later.
    FreezeServer,
    /// The same with PostgreSQL.
    FreezePostgres,
    /// The same with the backends that append, whatever they hold at the moment.
    FreezeAppenders,
    /// The file system is filled up, and gets room again.
    FillDisk,
    /// The leader's clock steps far ahead, then back.
    ClockAhead,
    /// The leader's clock steps far behind, then back.
    ClockBehind,
    /// The leader's clock jumps about within what is tolerated.
    ClockJitter,
    /// The answer to a commit is lost.
    LoseAnswer,
    /// A request to append is cut in half.
    LoseRequest,
    /// A request to append arrives after its sender has given it up.
    DelayRequest,
    /// All of the leader's connections to PostgreSQL are cut.
    CutConnections,
    /// The leader and PostgreSQL hear nothing of each other for a while.
    Silence,
    /// Writers that the log must refuse try.
    RogueWriters,
}

impl Fault {
    /// Those that make sense there.
    pub fn of(setting: Setting) -> Vec<Self> {
        use Fault::*;
        let everywhere = [
            KillServer,
            StopServer,
            KillPostgres,
            KillBoth,
            KillAppender,
            EndAppenders,
            FreezeServer,
            FreezePostgres,
            FreezeAppenders,
            ClockAhead,
            ClockBehind,
            ClockJitter,
            RogueWriters,
        ];
        match setting {
            Setting::Private => everywhere.to_vec(),
            Setting::SmallDisk => vec![FillDisk, KillServer, FillDisk, KillPostgres],
            Setting::Outside(_) => {
                let wires = [LoseAnswer, LoseRequest, DelayRequest, CutConnections, Silence, KillTwoServers];
                wires.into_iter().chain(everywhere).collect()
            }
        }
    }
}

/// How long writes may take to resume.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// After a server's return, or the loss of a leader.
    pub server: Duration,
    /// After PostgreSQL's return.
    pub postgres: Duration,
}

impl Limits {
    /// What is promised, times so many: machines that run tests are slow and busy.
    pub fn promised_times(factor: u32) -> Self {
        Self { server: Duration::from_secs(5) * factor, postgres: Duration::from_secs(30) * factor }
    }
}

/// Breaks things.
pub struct Breaker<'a> {
    pub house: &'a mut House,
    pub load: &'a Load,
    pub scene: &'a Scene,
    pub limits: Limits,
    pub longest: u64,
    pub random: &'a mut StdRng,
}

impl Breaker<'_> {
    /// Inflicts the fault, ends it, and measures until writes resume. What it did and measured, for people.
    pub async fn inflict(&mut self, fault: Fault) -> String {
        match fault {
            Fault::KillServer => self.kill_servers(1).await,
            Fault::KillTwoServers => self.kill_servers(2).await,
            Fault::StopServer => self.stop_server().await,
            Fault::KillPostgres => self.kill_postgres().await,
            Fault::KillBoth => {
                let killed = self.house.postgres();
                self.house.kill_node(self.house.leader());
                signal(&killed, Signal::KILL);
                self.restart("both were killed").await
            }
            Fault::KillAppender => {
                let appenders = self.appenders().await;
                let killed = Instant::now();
                signal(&appenders[..appenders.len().min(1)], Signal::KILL);
                self.takes_hold().await;
                self.resumes("a backend was killed", killed, self.limits.postgres).await
            }
            Fault::EndAppenders => {
                let ended = Instant::now();
                signal(&self.appenders().await, Signal::TERM);
                self.takes_hold().await;
                self.resumes("the appender's sessions were ended", ended, self.limits.server).await
            }
            Fault::FreezeServer => self.freeze_server().await,
            Fault::FreezePostgres => {
                let (processes, time) = (self.house.postgres(), self.seconds(6));
                signal(&processes, Signal::STOP);
                tokio::time::sleep(time).await;
                signal(&processes, Signal::CONT);
                self.resumes("PostgreSQL was frozen", Instant::now(), self.limits.postgres).await
            }
            Fault::FreezeAppenders => {
                let (processes, time) = (self.appenders().await, self.seconds(14));
                signal(&processes, Signal::STOP);
                tokio::time::sleep(time).await;
                signal(&processes, Signal::CONT);
                self.resumes("the appender's backends were frozen", Instant::now(), self.limits.postgres)
                    .await
            }
            Fault::FillDisk => self.fill_disk().await,
            Fault::ClockAhead => self.step_clock(10_000).await,
            Fault::ClockBehind => self.step_clock(-10_000).await,
            Fault::ClockJitter => self.jitter().await,
            Fault::LoseAnswer => self.cut(Cut::Answer).await,
            Fault::LoseRequest => self.cut(Cut::Request).await,
            Fault::DelayRequest => self.cut(Cut::Delay).await,
            Fault::CutConnections => {
                let cut = Instant::now();
                if let Some(wire) = &self.house.nodes[self.house.leader()].wire {
                    wire.cut_all();
                }
                self.takes_hold().await;
                self.resumes("all connections were cut", cut, self.limits.server).await
            }
            Fault::Silence => self.silence().await,
            Fault::RogueWriters => self.let_rogues_try().await,
        }
    }

    /// Measures from `since` until a request that was sent after it is acknowledged.
    async fn resumes(&self, what: &str, since: Instant, limit: Duration) -> String {
        match self.load.resumed(since, limit).await {
            Some(took) => format!("{what}; writes resumed after {:.2} s", took.as_secs_f64()),
            None => {
                let detail = format!("{what}; no write within {} s", limit.as_secs());
                self.load.findings.note(Check::ResumesInTime, &detail);
                detail
            }
        }
    }

    /// Kills leaders, one after the other while there is another one.
    async fn kill_servers(&mut self, count: usize) -> String {
        let mut told = String::new();
        for another in 0..count {
            if another > 0 && self.house.running() < 2 {
                break;
            }
            let killed = Instant::now();
            self.house.kill_node(self.house.leader());
            if self.house.running() > 0 {
                told += &(self.resumes("the leader was killed", killed, self.limits.server).await + "; ");
            }
        }
        told + &self.restart("what was killed is started again").await
    }

    async fn stop_server(&mut self) -> String {
        let leader = self.house.leader();
        let stopped = Instant::now();
        if !self.house.stop_node(leader) {
            self.load.findings.note(Check::ServerStays, format!("server {leader} did not stop in order"));
        }
        let mut told = format!("the leader stopped within {:.2} s; ", stopped.elapsed().as_secs_f64());
        if self.house.running() > 0 {
            told += &(self.resumes("another leads", stopped, self.limits.server).await + "; ");
        }
        told + &self.restart("it is started again").await
    }

    /// Starts what was killed and measures from the moment at which it says that it is ready.
    async fn restart(&mut self, what: &str) -> String {
        let begun = Instant::now();
        for number in 0..self.house.nodes.len() {
            if !self.house.is_down(number) {
                continue;
            }
            while let Err(log) = self.house.start_node(number) {
                // A server does not start without its database. Its own it brings along.
                if self.house.has_outside_database() && begun.elapsed() < self.limits.postgres {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
                let tail: String = log.lines().rev().take(5).collect::<Vec<_>>().join(" | ");
                self.load.findings.note(Check::ServerStays, format!("{what}; it does not start: {tail}"));
                return format!("{what}; it does not start");
            }
        }
        let started = format!("{what}, ready after {:.2} s", begun.elapsed().as_secs_f64());
        self.resumes(&started, Instant::now(), self.limits.server).await
    }

    /// What is only in PostgreSQL's memory is lost for sure: its writer of the write-ahead log is stopped a while before.
    async fn kill_postgres(&mut self) -> String {
        let writer = self.house.backends("backend_type = 'walwriter'").await;
        signal(&writer, Signal::STOP);
        let wanted = self.random.random_range(20..80);
        self.load.more(wanted, Duration::from_secs(3)).await;
        let processes = self.house.postgres();
        signal(&processes, Signal::STOP);
        signal(&processes, Signal::KILL);
        self.resumes("PostgreSQL was killed", Instant::now(), self.limits.postgres).await
    }

    async fn freeze_server(&mut self) -> String {
        let leader = self.house.leader();
        let time = self.seconds(8);
        let frozen = Instant::now();
        self.house.signal_node(leader, Signal::STOP);
        let mut told = String::new();
        if self.house.nodes.len() > 1 {
            told = self.resumes("the leader was frozen", frozen, self.limits.server).await + "; ";
        }
        tokio::time::sleep(time.saturating_sub(frozen.elapsed())).await;
        self.house.signal_node(leader, Signal::CONT);
        told + &self.resumes("it was woken", Instant::now(), self.limits.server).await
    }

    async fn fill_disk(&mut self) -> String {
        let Some(disk) = &self.house.disk else { return "there is no small disk".to_owned() };
        disk.fill();
        let filled = Instant::now();
        // Until it is felt: what is allocated already can still be written.
        while self.load.more(1, Duration::from_millis(500)).await {
            if filled.elapsed() > Duration::from_secs(20) {
                break;
            }
        }
        let felt = filled.elapsed();
        tokio::time::sleep(self.seconds(5)).await;
        if let Some(disk) = &self.house.disk {
            disk.free();
        }
        let what = format!("the disk was full, felt after {:.1} s", felt.as_secs_f64());
        self.resumes(&what, Instant::now(), self.limits.postgres).await
    }

    async fn step_clock(&mut self, ahead_ms: i64) -> String {
        let leader = self.house.leader();
        let Some(clock) = &self.house.nodes[leader].clock else {
            return "there is no libfaketime".to_owned();
        };
        clock.step(ahead_ms);
        let stepped = Instant::now();
        let mut told = String::new();
        if self.house.nodes.len() > 1 {
            while self.house.leader() == leader && stepped.elapsed() < self.limits.server {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let what = format!("another server leads after {:.2} s", stepped.elapsed().as_secs_f64());
            told = self.resumes(&what, stepped, self.limits.server).await + "; ";
            self.load.findings.expect(self.house.leader() != leader, Check::ResumesInTime, || {
                format!("a server whose clock is {ahead_ms} ms off still leads")
            });
        }
        tokio::time::sleep(self.seconds(6).saturating_sub(stepped.elapsed())).await;
        // What was decided before the clock was found to be wrong bears its time.
        let ahead = self.house.log_ahead_of_clock().await;
        if let Some(clock) = &self.house.nodes[leader].clock {
            clock.step(0);
        }
        let what = format!("the clock was {ahead_ms} ms off and is right again, the log {ahead}");
        told + &self.resumes(&what, Instant::now(), self.limits.server).await
    }

    async fn jitter(&mut self) -> String {
        let leader = self.house.leader();
        let steps: Vec<i64> = (0..20).map(|_| self.random.random_range(-400..400)).collect();
        let Some(clock) = &self.house.nodes[leader].clock else {
            return "there is no libfaketime".to_owned();
        };
        for step in steps.into_iter().chain([0]) {
            clock.step(step);
            self.load.more(5, Duration::from_secs(1)).await;
        }
        self.resumes("the clock jumped about", Instant::now(), self.limits.server).await
    }

    async fn cut(&mut self, cut: Cut) -> String {
        let times = self.random.random_range(1..6);
        for _ in 0..times {
            let Some(wire) = &self.house.nodes[self.house.leader()].wire else { break };
            wire.cut_next(cut);
            let begun = Instant::now();
            while !wire.is_cut() && begun.elapsed() < Duration::from_secs(10) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            wire.cut_next(Cut::Nothing);
            let more = self.random.random_range(0..10);
            self.load.more(more, Duration::from_secs(2)).await;
        }
        self.resumes(&format!("{cut:?} was cut {times} times"), Instant::now(), self.limits.server).await
    }

    async fn silence(&mut self) -> String {
        let leader = self.house.leader();
        let time = self.seconds(14);
        let silent = Instant::now();
        self.silence_node(leader, true);
        let mut told = String::new();
        if self.house.nodes.len() > 1 {
            told = self.resumes("the leader was cut off", silent, self.limits.server).await + "; ";
        }
        tokio::time::sleep(time.saturating_sub(silent.elapsed())).await;
        self.silence_node(leader, false);
        told + &self.resumes("it was reconnected", Instant::now(), self.limits.postgres).await
    }

    fn silence_node(&self, number: usize, silent: bool) {
        if let Some(wire) = &self.house.nodes[number].wire {
            wire.silence(silent);
        }
    }

    async fn let_rogues_try(&mut self) -> String {
        match self.house.connect(Role::App).await {
            Ok(database) => {
                for rogue in [Rogue::StaleSequence, Rogue::OldEpoch] {
                    rogue::attempt(rogue, &database.pool, self.scene, &self.load.findings).await;
                }
                database.close().await;
                self.resumes("rogue writers tried", Instant::now(), self.limits.server).await
            }
            Err(error) => format!("no rogue could connect: {error}"),
        }
    }

    /// What is written before a signal has had its effect does not show that writes have resumed.
    async fn takes_hold(&self) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    async fn appenders(&self) -> Vec<rustix::process::Pid> {
        self.house.backends("application_name LIKE 'daybook appender%'").await
    }

    /// How long something is broken, from one second on.
    fn seconds(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.random.random_range(1_000..most.min(self.longest) * 1_000))
    }
}
