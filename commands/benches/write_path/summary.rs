//! The figures, for machines and for people.

use std::fs;
use std::path::Path;

use anyhow::Context;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

/// A figure of ours beside one of a peer.
#[derive(Debug, Serialize)]
pub struct Measurement {
    name: String,
    value: f64,
    unit: &'static str,
    peer: &'static str,
    peer_value: f64,
    /// Ours divided by the peer's.
    ratio: f64,
}

impl Measurement {
    pub fn new(name: &str, unit: &'static str, value: f64, peer: &'static str, peer_value: f64) -> Self {
        Self { name: name.to_owned(), value, unit, peer, peer_value, ratio: value / peer_value }
    }
}

/// Writes `target/bench/summary.json` and prints the table.
pub fn write(measurements: &[Measurement]) -> anyhow::Result<()> {
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => target.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
    };
    let folder = target.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let file = folder.join("summary.json");
    fs::write(&file, serde_json::to_string_pretty(measurements)? + "\n")
        .with_context(|| format!("cannot write {}", file.display()))?;
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.set_header(["name", "daybook", "unit", "peer", "peer's", "ratio"]);
    for measurement in measurements {
        table.add_row([
            measurement.name.clone(),
            format!("{:.0}", measurement.value),
            measurement.unit.to_owned(),
            measurement.peer.to_owned(),
            format!("{:.0}", measurement.peer_value),
            format!("{:.2}", measurement.ratio),
        ]);
    }
    for column in [1, 4, 5] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("{table}\nwritten to {}", file.display());
    Ok(())
}
