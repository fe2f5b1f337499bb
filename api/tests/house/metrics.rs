//! Every metric is in the runbook, and the runbook tells of none that there is not.

use std::collections::BTreeSet;
use std::path::Path;

const RUNBOOK: &str = include_str!("../../../docs/runbooks/write-side.md");

/// The names of the metrics that the sources below a folder record.
fn recorded(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            recorded(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(names_in(&std::fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The names given to the macros that record metrics.
fn names_in(source: &str) -> BTreeSet<String> {
    ["counter!(", "gauge!(", "histogram!("]
        .into_iter()
        .flat_map(|call| source.split(call).skip(1))
        .map(|rest| {
            let name = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
            name.unwrap_or_else(|| panic!("a metric without a name of its own: {rest:.60}")).to_owned()
        })
        .collect()
}

/// The metrics that a text names in code, without their labels.
fn told(text: &str) -> BTreeSet<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| code.starts_with("daybook_"))
        .map(|code| code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_metric_is_in_the_runbook_and_the_runbook_knows_no_other() {
    let house = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut names = BTreeSet::new();
    for part in ["event-store", "commands", "processes", "projections", "api"] {
        recorded(&house.join(part).join("src"), &mut names);
    }
    let told = told(RUNBOOK);
    let untold: Vec<_> = names.difference(&told).collect();
    let unknown: Vec<_> = told.difference(&names).collect();
    assert!(
        untold.is_empty() && unknown.is_empty(),
        "missing in the runbook: {untold:?}; not recorded: {unknown:?}"
    );
}

#[test]
fn names_are_found_over_lines_and_with_labels() {
    let source =
        "metrics::counter!(\n    \"daybook_a_total\", \"code\" => x).increment(1); gauge!(\"daybook_b\")";
    assert_eq!(names_in(source).into_iter().collect::<Vec<_>>(), ["daybook_a_total", "daybook_b"]);
    assert_eq!(told("| `daybook_a_total{code}`, `x` | `daybook_b` |").len(), 2);
}
