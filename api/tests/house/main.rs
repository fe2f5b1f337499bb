//! Checks of the house as a whole: its layers, its texts and the files it is run with.

mod compose;
mod layers;
mod metrics;
mod texts;

use std::path::{Path, PathBuf};

/// The top folder of the project.
fn top() -> PathBuf {
    let api = Path::new(env!("CARGO_MANIFEST_DIR"));
    api.parent().expect("api lies in the top folder").to_path_buf()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(top().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
