//! Rows in the text format of `COPY`: counted, and those of events checked along the log.

/// Cuts bytes into rows. A line feed within a value is written `\n` in this format, so a real one ends the row.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// The beginning of a row whose end is still to come.
    begun: Vec<u8>,
    count: u64,
    log: Option<LogCheck>,
}

impl Rows {
    /// Rows that are counted only, or events that go on where the check stands.
    pub(super) fn new(log: Option<LogCheck>) -> Self {
        Self { log, ..Self::default() }
    }

    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (row, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            self.count += 1;
            let Some(log) = &mut self.log else { continue };
            if self.begun.is_empty() {
                log.take(row)?;
            } else {
                self.begun.extend_from_slice(row);
                log.take(&self.begun)?;
                self.begun.clear();
            }
        }
        if self.log.is_some() {
            self.begun.extend_from_slice(bytes);
        }
        Ok(())
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Where the check stands, to go on in the next file.
    pub(super) fn into_log(self) -> Option<LogCheck> {
        self.log
    }
}

/// The columns of `log.events` in a backup. [`LogCheck`] goes by the places of the first five.
pub(super) const EVENT_COLUMNS: [&str; 11] = [
    "log_position",
    "sequence",
    "recorded_at",
    "event_id",
    "remaining",
    "aggregate_type",
    "aggregate_id",
    "event_type",
    "event_version",
    "payload",
    "metadata",
];

/// What must hold from each event to the next: positions without gap, whole commands, a time that never moves backward.
#[derive(Debug, Default)]
pub(super) struct LogCheck {
    last: u64,
    remaining: u16,
    /// As text: in one time zone and ISO form, text is ordered as the times are.
    recorded_at: Vec<u8>,
}

impl LogCheck {
    fn take(&mut self, row: &[u8]) -> Result<(), String> {
        let mut fields = row.split(|byte| *byte == b'\t');
        let mut field = || fields.next().unwrap_or_default();
        let log_position = number(field());
        let (_sequence, recorded_at, _event_id) = (field(), field(), field());
        let remaining = number(field()).and_then(|remaining| u16::try_from(remaining).ok());
        let expected = self.last + 1;
        let (Some(log_position), Some(remaining)) = (log_position, remaining) else {
            return Err(format!("what should be the event at log position {expected} is not an event"));
        };
        if log_position != expected {
            return Err(format!("after log position {} comes {log_position}", self.last));
        }
        if self.remaining > 0 && remaining != self.remaining - 1 {
            return Err(format!("the command before log position {log_position} is not whole"));
        }
        if recorded_at < self.recorded_at.as_slice() {
            return Err(format!("at log position {log_position} the time moves backward"));
        }
        self.last = log_position;
        self.remaining = remaining;
        self.recorded_at.clear();
        self.recorded_at.extend_from_slice(recorded_at);
        Ok(())
    }

    /// Whether the log ends at this position, and there with a whole command.
    pub(super) fn end_at(&self, head: u64) -> Result<(), String> {
        if self.last != head {
            return Err(format!("the log ends at log position {} and not at its head, {head}", self.last));
        }
        if self.remaining > 0 {
            return Err(format!(
                "the last command is not whole: {} of its events are missing",
                self.remaining
            ));
        }
        Ok(())
    }
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(log_position: u64, remaining: u16, second: &str) -> String {
        format!(
            "{log_position}\t1\t2026-01-01 00:00:{second}+00\tid\t{remaining}\tcounter\ta\\nb\tT\t1\t{{}}\t{{}}\n"
        )
    }

    fn check(rows: &[String], head: u64) -> Result<u64, String> {
        let text = rows.concat();
        let mut found = Vec::new();
        // Wherever the bytes are cut, the rows are the same.
        for cut in [1, 7, text.len().max(1)] {
            let mut rows = Rows::new(Some(LogCheck::default()));
            let taken = text.as_bytes().chunks(cut).try_for_each(|bytes| rows.take(bytes));
            let count = rows.count();
            found.push(taken.and_then(|()| rows.into_log().unwrap().end_at(head)).map(|()| count));
        }
        assert!(found.iter().all(|other| *other == found[0]), "{found:?}");
        found.remove(0)
    }

    #[test]
    fn a_log_of_whole_commands_passes() {
        let rows = [row(1, 1, "01"), row(2, 0, "01"), row(3, 0, "01.5"), row(4, 0, "01.51"), row(5, 0, "02")];
        assert_eq!(check(&rows, 5), Ok(5));
        assert_eq!(check(&[], 0), Ok(0));
    }

    #[test]
    fn a_log_with_a_defect_is_refused_and_the_place_is_named() {
        for (rows, head, reason) in [
            (vec![row(2, 0, "01")], 2, "after log position 0 comes 2"),
            (vec![row(1, 0, "01"), row(1, 0, "01")], 2, "after log position 1 comes 1"),
            (vec![row(1, 0, "01")], 2, "the log ends at log position 1"),
            (vec![row(1, 1, "01")], 1, "the last command is not whole"),
            (vec![row(1, 2, "01"), row(2, 0, "01")], 2, "the command before log position 2"),
            (vec![row(1, 0, "01.5"), row(2, 0, "01")], 2, "at log position 2 the time moves backward"),
            (vec!["garbage\n".to_owned()], 1, "log position 1 is not an event"),
        ] {
            let refused = check(&rows, head).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
    }
}
