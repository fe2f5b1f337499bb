//! PostgreSQL's settings, sized from the machine's memory.

use std::fs;

/// Memory assumed where the machine does not tell.
const UNKNOWN_MEMORY_MB: u64 = 2_048;

/// The settings of a cluster that shares its machine with the server, strongest last.
///
/// Durability is not for sale: `fsync`, `synchronous_commit` and `full_page_writes` are on and
/// named, so that nobody wonders. Checkpoints are rare (each one makes the next change of a page
/// write it whole) and the log that they leave to replay is bounded.
///
/// Whole pages in the WAL are compressed with lz4 if the server was built with it. They are what grows with the log: after a
/// checkpoint the first event of each stream writes a page of the stream index whole, and `pglz` takes longer for that page
/// than the event takes for everything else.
pub(super) fn settings(extra: &[(String, String)], has_lz4: bool) -> Vec<(String, String)> {
    let mut settings = sized_for(memory_mb());
    settings.push(("wal_compression".to_owned(), if has_lz4 { "lz4" } else { "pglz" }.to_owned()));
    for (name, value) in extra {
        settings.retain(|(other, _)| other != name);
        settings.push((name.clone(), value.clone()));
    }
    settings
}

fn sized_for(memory_mb: u64) -> Vec<(String, String)> {
    let shared_buffers_mb = (memory_mb / 4).clamp(64, 1_024);
    let maintenance_mb = (memory_mb / 16).clamp(32, 256);
    let work_mb = (memory_mb / 256).clamp(4, 16);
    [
        ("fsync", "on".to_owned()),
        ("synchronous_commit", "on".to_owned()),
        ("full_page_writes", "on".to_owned()),
        ("listen_addresses", String::new()),
        ("unix_socket_permissions", "0700".to_owned()),
        ("max_connections", "100".to_owned()),
        ("shared_buffers", format!("{shared_buffers_mb}MB")),
        ("effective_cache_size", format!("{}MB", (memory_mb / 2).max(128))),
        ("maintenance_work_mem", format!("{maintenance_mb}MB")),
        ("work_mem", format!("{work_mb}MB")),
        ("min_wal_size", "128MB".to_owned()),
        ("max_wal_size", "2GB".to_owned()),
        ("checkpoint_timeout", "15min".to_owned()),
        ("checkpoint_completion_target", "0.9".to_owned()),
        ("random_page_cost", "1.1".to_owned()),
        // Statements are short and many; compiling them costs more than it saves.
        ("jit", "off".to_owned()),
        ("timezone", "UTC".to_owned()),
        ("log_timezone", "UTC".to_owned()),
        ("log_destination", "stderr".to_owned()),
        ("logging_collector", "off".to_owned()),
        ("log_line_prefix", "%m [%p] %q%u@%d ".to_owned()),
        // A retried conflict is no news to an operator; what the server could not do is.
        ("log_min_error_statement", "panic".to_owned()),
        ("log_checkpoints", "off".to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// The settings as a configuration file.
pub(super) fn as_file(settings: &[(String, String)]) -> String {
    let mut text = String::from(
        "# Written at every start of the embedded server; settings of your own go to local.conf beside it.\n",
    );
    for (name, value) in settings {
        text.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
    }
    text
}

/// What this machine, or the container's limit, gives.
fn memory_mb() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kb| kb / 1_024)
    });
    let limit = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok())
        .map(|bytes| bytes / 1_048_576);
    match (machine, limit) {
        (Some(machine), Some(limit)) => machine.min(limit),
        (Some(memory), None) | (None, Some(memory)) => memory,
        (None, None) => UNKNOWN_MEMORY_MB,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(settings: &'a [(String, String)], name: &str) -> &'a str {
        &settings.iter().find(|(other, _)| other == name).unwrap().1
    }

    #[test]
    fn memory_scales_the_buffers_within_bounds() {
        assert_eq!(value(&sized_for(256), "shared_buffers"), "64MB");
        assert_eq!(value(&sized_for(2_048), "shared_buffers"), "512MB");
        assert_eq!(value(&sized_for(65_536), "shared_buffers"), "1024MB");
    }

    #[test]
    fn an_extra_setting_replaces_ours() {
        let settings = settings(&[("max_connections".to_owned(), "7".to_owned())], true);
        assert_eq!(value(&settings, "max_connections"), "7");
        assert_eq!(settings.iter().filter(|(name, _)| name == "max_connections").count(), 1);
    }

    #[test]
    fn whole_pages_are_compressed_with_what_the_server_has() {
        assert_eq!(value(&settings(&[], true), "wal_compression"), "lz4");
        assert_eq!(value(&settings(&[], false), "wal_compression"), "pglz");
        let told = settings(&[("wal_compression".to_owned(), "off".to_owned())], true);
        assert_eq!(value(&told, "wal_compression"), "off");
    }

    #[test]
    fn a_quote_in_a_value_is_doubled() {
        let file = as_file(&[("log_line_prefix".to_owned(), "it's".to_owned())]);
        assert!(file.contains("log_line_prefix = 'it''s'"), "{file}");
    }
}
