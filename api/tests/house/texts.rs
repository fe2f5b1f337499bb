//! The project stands alone: nothing in it points outside it or at the machine it was written on.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folders that are not part of the project.
const NOT_OURS: [&str; 4] = [".git", "target", ".daybook", "node_modules"];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let is_folder = entry.file_type().unwrap().is_dir();
        if is_folder && !NOT_OURS.contains(&entry.file_name().to_str().unwrap_or_default()) {
            files(&path, found);
        } else if entry.file_type().unwrap().is_file() {
            found.push(path);
        }
    }
}

/// What must not be written anywhere, put together here so that this file does not contain it.
fn patterns() -> Vec<String> {
    let mut patterns: Vec<String> =
        ["shared", "root", "home", "Users"].iter().map(|folder| format!("/{folder}/")).collect();
    patterns[0] = format!("{}/shared", "..");
    patterns.push(format!("/var/{}/", "tmp"));
    let top = super::top();
    // A clone at /src would find its path in many a harmless text.
    if top.components().count() > 2 {
        patterns.push(top.display().to_string());
    }
    patterns
}

fn offences(text: &str, patterns: &[String]) -> Vec<String> {
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| patterns.iter().any(|pattern| line.contains(pattern)))
        .map(|(number, line)| format!("{}: {}", number + 1, line.trim()))
        .collect()
}

#[test]
fn no_file_points_outside_the_project_or_at_one_machine() {
    let mut paths = Vec::new();
    files(&super::top(), &mut paths);
    assert!(paths.len() > 50, "only {} files found", paths.len());
    let patterns = patterns();
    let mut found = Vec::new();
    for path in paths {
        // Recorded data is compressed and not text.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        found.extend(
            offences(&text, &patterns).into_iter().map(|offence| format!("{}:{offence}", path.display())),
        );
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_path_of_a_machine_is_found() {
    let text = format!("fine\nsee /{}/ann/daybook\nand {}/shared/x", "home", "..");
    assert_eq!(offences(&text, &patterns()).len(), 2);
}
