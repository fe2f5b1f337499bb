//! A running `daybook`, with verbs for what is done to it.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::Client;

/// Longer than anything takes that is not broken.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A folder for data folders, open to PostgreSQL's user, so that clusters are in it and go with it.
pub fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// The program with nothing of our environment, on a free port, without a feed.
pub fn command(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_daybook"));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("DAYBOOK_DATA_DIR", data_dir)
        .env("DAYBOOK_LISTEN", "127.0.0.1:0")
        .env("DAYBOOK_FEED_SPEED", "0");
    command
}

/// What a run that must fail says.
pub fn refusal(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    text.lines().last().unwrap_or_default().to_owned()
}

/// What a run that must go well prints.
pub fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A server that has said it is ready. Killed when it goes.
pub struct Daybook {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub banner: String,
    pub url: String,
    data_dir: PathBuf,
    client: reqwest::Client,
}

impl Daybook {
    pub fn start(data_dir: &Path) -> Self {
        Self::start_by(command(data_dir), data_dir)
    }

    pub fn start_by(mut command: Command, data_dir: &Path) -> Self {
        Self::try_start_by(&mut command, data_dir)
            .unwrap_or_else(|log| panic!("it ended before it was ready: {log}"))
    }

    /// Starts it and waits until it says that it is ready; its log, if it ends instead. What it logs is added to the
    /// file beside the data folder.
    pub fn try_start_by(command: &mut Command, data_dir: &Path) -> Result<Self, String> {
        let log_file = data_dir.with_extension("log");
        let log = std::fs::File::options().create(true).append(true).open(&log_file).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut banner = String::new();
        while !banner.contains("Ctrl-C") {
            if stdout.read_line(&mut banner).unwrap() == 0 {
                child.wait().unwrap();
                return Err(std::fs::read_to_string(log_file).unwrap());
            }
        }
        let url = banner.split_whitespace().find(|word| word.ends_with("/graphql")).unwrap();
        let url = url.trim_end_matches("/graphql").to_owned();
        let client = reqwest::Client::new();
        Ok(Self { child, stdout, banner, url, data_dir: data_dir.to_owned(), client })
    }

    /// Whether it has not ended.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Where it listens.
    pub fn address(&self) -> std::net::SocketAddr {
        self.url.trim_start_matches("http://").parse().unwrap()
    }

    /// The keys of the first start, by role.
    pub fn keys(&self) -> BTreeMap<String, String> {
        let text = std::fs::read_to_string(self.data_dir.join("api-keys.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Asks with a key; the status and the answer, or `None` when the server does not answer.
    pub async fn ask(&self, key: &str, query: &str, variables: Value) -> Option<(u16, Value)> {
        let request = self
            .client
            .post(format!("{}/graphql", self.url))
            .bearer_auth(key)
            .json(&json!({"query": query, "variables": variables}));
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.ok()?))
    }

    /// Asks as a role of the first start and expects data without errors.
    pub async fn data(&self, role: &str, query: &str, variables: Value) -> Value {
        let key = self.keys().remove(role).unwrap();
        let (status, mut answer) = self.ask(&key, query, variables).await.unwrap();
        assert!(status == 200 && answer.get("errors").is_none(), "{status} {answer}");
        answer["data"].take()
    }

    /// Deposits one unit under a key, again and again until there is an answer; its log position.
    pub async fn deposit(&self, account_id: &str, idempotency_key: &str) -> String {
        let key = self.keys().remove("operator").unwrap();
        let begun = Instant::now();
        loop {
            let variables = json!({"input": {
                "idempotencyKey": idempotency_key, "accountId": account_id, "amount": "1"
            }});
            match self.ask(&key, DEPOSIT, variables).await {
                Some((200, answer)) if answer.get("errors").is_none() => {
                    let payload = &answer["data"]["deposit"];
                    assert_eq!(payload["errors"], json!([]), "{payload}");
                    return payload["logPosition"].as_str().unwrap().to_owned();
                }
                failed => assert!(begun.elapsed() < LIMIT, "no deposit in time: {failed:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The status of a page that needs no key.
    pub async fn status(&self, path: &str) -> u16 {
        match self.client.get(format!("{}{path}", self.url)).send().await {
            Ok(answer) => answer.status().as_u16(),
            Err(_) => 0,
        }
    }

    /// Waits until the server says that it can work.
    pub async fn ready(&self) {
        let begun = Instant::now();
        while self.status("/readyz").await != 200 {
            assert!(begun.elapsed() < LIMIT, "it does not become ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A client with the keys of the first start.
    pub fn client(&self) -> Client {
        Client::new(self.address(), self.keys().into_iter().collect())
    }

    /// The number of the private cluster's first process.
    pub fn postmaster(&self) -> Pid {
        let file = self.data_dir.join("postgres/data/postmaster.pid");
        let text = std::fs::read_to_string(file).unwrap();
        Pid::from_raw(text.lines().next().unwrap().trim().parse().unwrap()).unwrap()
    }

    pub fn kill_postgres(&self) {
        kill_process(self.postmaster(), Signal::KILL).unwrap();
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end; what it came to, and how long it took.
    pub fn ended(mut self) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        let mut rest = Vec::new();
        // Its end closes the pipe.
        self.stdout.read_to_end(&mut rest).unwrap();
        (self.child.wait().unwrap(), begun.elapsed())
    }
}

impl Drop for Daybook {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub const DEPOSIT: &str =
    "mutation ($input: MoneyInput!) { deposit(input: $input) { logPosition errors { code message } } }";

/// Id and balance of the demo trader's account.
pub async fn demo_account(daybook: &Daybook) -> (String, String) {
    let head = daybook.data("trader", "{ head }", json!({})).await["head"].clone();
    let query = "query ($head: LogPosition!) { accounts(owner: \"demo\", atLeast: $head) { edges { node { id balance } } } }";
    let data = daybook.data("trader", query, json!({"head": head})).await;
    let accounts = data["accounts"]["edges"].as_array().unwrap();
    assert_eq!(accounts.len(), 1, "{data}");
    let text = |name: &str| accounts[0]["node"][name].as_str().unwrap().to_owned();
    (text("id"), text("balance"))
}
