//! Every request is written down before it is sent, and its outcome after: what a client knows.
//!
//! The file `journal.ndjson` has a line when a request is asked and one when it is told; a request without the second had
//! no answer when the run ended. Times are milliseconds since the run began.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use serde_json::{Value, json};

/// A command, told apart by its key. The key is also the movement's or hold's reference or the order's client order id, so
/// that its effect is found in the log without the table of keys.
#[derive(Clone, Debug)]
pub struct Request {
    pub key: String,
    /// The key's role.
    pub who: &'static str,
    /// The mutation's field.
    pub field: &'static str,
    pub input: Value,
    /// What its effect is called in the log: the key, or the end of a hold and how it ends.
    pub effect: String,
}

impl Request {
    /// The hold that it is to end.
    pub fn hold(&self) -> Option<&str> {
        self.input["holdId"].as_str()
    }
}

/// What the client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Done, with the log position of its last event.
    Accepted(u64),
    /// Not done, with its code.
    Refused(String),
    /// No answer, or one that leaves it open.
    Unknown(String),
}

/// A request and the last thing told about it.
#[derive(Clone, Debug)]
pub struct Entry {
    pub request: Request,
    pub told: Told,
    /// The hold that it was told of.
    pub hold: Option<String>,
}

/// The number of an entry.
pub type Number = usize;

pub struct Journal {
    begun: Instant,
    file: Mutex<File>,
    entries: Mutex<Vec<Entry>>,
}

impl Journal {
    pub fn create(folder: &Path) -> Self {
        let file = File::create(folder.join("journal.ndjson")).unwrap();
        Self { begun: Instant::now(), file: Mutex::new(file), entries: Mutex::default() }
    }

    /// Writes a request down, before it is sent.
    pub fn ask(&self, request: Request) -> Number {
        let mut entries = self.entries.lock().unwrap();
        let number = entries.len();
        self.write(json!({"ask": number, "as": request.who, "field": request.field, "input": request.input}));
        entries.push(Entry { request, told: Told::Unknown("not answered yet".to_owned()), hold: None });
        number
    }

    /// Writes an outcome down, after it was told.
    pub fn told(&self, number: Number, told: Told, hold: Option<String>) {
        self.write(match &told {
            Told::Accepted(position) => json!({"told": number, "accepted": position, "hold": hold}),
            Told::Refused(code) => json!({"told": number, "refused": code}),
            Told::Unknown(why) => json!({"told": number, "unknown": why}),
        });
        let entry = &mut self.entries.lock().unwrap()[number];
        entry.told = told;
        entry.hold = hold.or(entry.hold.take());
    }

    /// Writes down what is done to the system, for whoever reads the file.
    pub fn remark(&self, text: &str) {
        self.write(json!({"remark": text}));
    }

    /// What is known from `from` on.
    pub fn since(&self, from: Number) -> Vec<Entry> {
        self.entries.lock().unwrap()[from..].to_vec()
    }

    pub fn entry(&self, number: Number) -> Entry {
        self.entries.lock().unwrap()[number].clone()
    }

    pub fn len(&self) -> usize {
        self.entries.lock().unwrap().len()
    }

    fn write(&self, mut line: Value) {
        line["ms"] = (self.begun.elapsed().as_millis() as u64).into();
        let mut file = self.file.lock().unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}
