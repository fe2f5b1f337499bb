//! The figures, for machines and for people.
//!
//! Several programs write to one file, `target/bench/summary.json`: a row replaces the one of its name and leaves the others.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

/// A figure of ours beside one of a peer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measurement {
    name: String,
    value: f64,
    unit: String,
    peer: String,
    peer_value: f64,
    /// Ours divided by the peer's.
    ratio: f64,
}

impl Measurement {
    pub fn new(name: &str, unit: &str, value: f64, peer: &str, peer_value: f64) -> Self {
        let (name, unit, peer) = (name.to_owned(), unit.to_owned(), peer.to_owned());
        Self { name, value, unit, peer, peer_value, ratio: value / peer_value }
    }
}

/// Puts the rows into `target/bench/summary.json` and prints them as a table.
pub fn write(measurements: &[Measurement]) -> anyhow::Result<()> {
    let file = file()?;
    let mut all: Vec<Measurement> = match fs::read_to_string(&file) {
        Ok(text) => serde_json::from_str(&text)
            .with_context(|| format!("{} is not what a benchmark wrote; delete it", file.display()))?,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    for measurement in measurements {
        match all.iter_mut().find(|row| row.name == measurement.name) {
            Some(row) => *row = measurement.clone(),
            None => all.push(measurement.clone()),
        }
    }
    fs::write(&file, serde_json::to_string_pretty(&all)? + "\n")
        .with_context(|| format!("cannot write {}", file.display()))?;
    println!("{}\nwritten to {}", table(measurements), file.display());
    Ok(())
}

fn file() -> anyhow::Result<PathBuf> {
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => target.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
    };
    let folder = target.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder.join("summary.json"))
}

fn table(measurements: &[Measurement]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.set_header(["name", "daybook", "unit", "peer", "peer's", "ratio"]);
    for measurement in measurements {
        table.add_row([
            measurement.name.clone(),
            figure(measurement.value),
            measurement.unit.clone(),
            measurement.peer.clone(),
            figure(measurement.peer_value),
            format!("{:.2}", measurement.ratio),
        ]);
    }
    for column in [1, 4, 5] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn figure(value: f64) -> String {
    if value < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}
