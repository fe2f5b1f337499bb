//! The log, read beside the servers and checked event for event: positions, streams, whole commands, times, and the
//! effect of every key.

use std::collections::HashMap;

use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};
use uuid::Uuid;

use crate::findings::{Check, Findings};
use crate::hold_check::HoldCheck;
use crate::journal::{Entry, Told};
use crate::scene::Scene;
use crate::snapshots::{Standing, cents_of};

const PAGE: i64 = 20_000;
/// How many events before the end of the last reading are read again, to see that they are still there.
const READ_AGAIN: usize = 2_000;
const KEYS_AT_ONCE: usize = 10_000;

const EVENTS: &str = "SELECT log_position, sequence, (extract(epoch FROM recorded_at) * 1000000)::bigint AS recorded_at, \
     event_id, remaining, aggregate_type || ' ' || aggregate_id AS stream, aggregate_id, event_type, payload::text \
     FROM log.events WHERE log_position > $1 AND log_position <= $2 ORDER BY log_position LIMIT $3";
/// Events that are looked into: what clients ask for comes to these.
const LOOKED_INTO: [&str; 8] = [
    "FundsDeposited",
    "TransferSent",
    "TransferReceived",
    "OrderPlaced",
    "HoldPlaced",
    "HoldCaptured",
    "HoldReleased",
    "HoldExpired",
];
const HEAD: &str = "SELECT h.log_position, h.epoch, (SELECT coalesce(max(log_position), 0) FROM log.events) AS last \
     FROM log.log_head h";

/// An event of the log.
#[derive(Debug)]
pub struct Event<'a> {
    pub position: u64,
    /// Where its command ends.
    pub end: u64,
    /// In microseconds.
    pub recorded_at: i64,
    /// The id of its stream.
    pub stream: &'a str,
    pub event_type: &'a str,
    pub fields: &'a Value,
}

/// What is known of the log so far.
#[derive(Default)]
pub struct LogCheck {
    events: Vec<Uuid>,
    epoch: i64,
    recorded_at: i64,
    remaining: i16,
    /// The last sequence of each stream.
    streams: HashMap<String, i64>,
    /// Where the command ends that had the effect, by what the effect is called; one more for each twin.
    effects: HashMap<String, Vec<u64>>,
    /// Of each account in cents.
    balances: HashMap<String, i128>,
    /// What is known of holds.
    pub holds: HoldCheck,
    /// The journal up to here has been compared.
    judged: usize,
}

impl LogCheck {
    /// How many events there are.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// The balance of an account in cents, by the log alone.
    pub fn balance(&self, account: &str) -> i128 {
        self.balances.get(account).copied().unwrap_or_default()
    }

    /// Reads what was appended since the last time and checks it.
    pub async fn read(&mut self, pool: &PgPool, findings: &Findings) -> Result<(), sqlx::Error> {
        let head = sqlx::query(HEAD).fetch_one(pool).await?;
        let (position, last): (i64, i64) = (head.get("log_position"), head.get("last"));
        let epoch: i64 = head.get("epoch");
        findings.expect(position == last, Check::Head, || {
            format!("the head is at {position}, the last event at {last}")
        });
        findings.expect(epoch >= self.epoch, Check::Head, || {
            format!("the epoch went from {} back to {epoch}", self.epoch)
        });
        findings.expect(position as usize >= self.len(), Check::Head, || {
            format!("the head went from {} back to {position}", self.len())
        });
        self.epoch = epoch;
        self.read_again(pool, findings).await?;
        while (self.len() as i64) < position {
            let rows =
                sqlx::query(EVENTS).bind(self.len() as i64).bind(position).bind(PAGE).fetch_all(pool).await?;
            if rows.is_empty() {
                findings.note(Check::Positions, format!("no event between {} and {position}", self.len()));
                return Ok(());
            }
            for row in rows {
                self.take(&row, findings);
            }
        }
        findings.expect(self.remaining == 0, Check::Positions, || {
            format!("the log ends in the middle of a command: {} are missing", self.remaining)
        });
        Ok(())
    }

    /// What was there is there.
    async fn read_again(&self, pool: &PgPool, findings: &Findings) -> Result<(), sqlx::Error> {
        let from = self.len().saturating_sub(READ_AGAIN);
        let rows = sqlx::query(EVENTS)
            .bind(from as i64)
            .bind(self.len() as i64)
            .bind(READ_AGAIN as i64)
            .fetch_all(pool)
            .await?;
        let now: HashMap<i64, Uuid> = rows.iter().map(|row| (row.get(0), row.get("event_id"))).collect();
        for (place, event) in self.events.iter().enumerate().skip(from) {
            let position = place as i64 + 1;
            findings.expect(now.get(&position) == Some(event), Check::LogStays, || {
                format!("at {position} was {event}, now {:?}", now.get(&position))
            });
        }
        Ok(())
    }

    fn take(&mut self, row: &PgRow, findings: &Findings) {
        let position: i64 = row.get("log_position");
        let expected = self.len() as i64 + 1;
        findings.expect(position == expected, Check::Positions, || {
            format!("after {} comes {position}", expected - 1)
        });
        self.events.push(row.get("event_id"));

        let stream: String = row.get("stream");
        let sequence: i64 = row.get("sequence");
        let before = self.streams.insert(stream.clone(), sequence).unwrap_or_default();
        findings.expect(sequence == before + 1, Check::Streams, || {
            format!("in {stream}, after {before} comes {sequence} (at {position})")
        });

        let remaining: i16 = row.get("remaining");
        findings.expect(self.remaining == 0 || remaining == self.remaining - 1, Check::Positions, || {
            format!("after {} remaining come {remaining} (at {position})", self.remaining)
        });
        self.remaining = remaining;

        let recorded_at: i64 = row.get("recorded_at");
        findings.expect(recorded_at >= self.recorded_at, Check::RecordedAt, || {
            format!("{} µs back at {position}", self.recorded_at - recorded_at)
        });
        self.recorded_at = recorded_at;

        let event_type: &str = row.get("event_type");
        if LOOKED_INTO.contains(&event_type) {
            let payload: Value = serde_json::from_str(row.get("payload")).unwrap();
            let position = position.unsigned_abs();
            let end = position + u64::from(remaining.unsigned_abs());
            let (stream, fields) = (row.get("aggregate_id"), &payload[event_type]);
            self.apply(&Event { position, end, recorded_at, stream, event_type, fields }, findings);
        }
    }

    /// Folds an event that is looked into.
    pub fn apply(&mut self, event: &Event<'_>, findings: &Findings) {
        let of_hold = self.holds.take(event, findings);
        let balance = self.balances.entry(event.stream.to_owned()).or_default();
        match event.event_type {
            "FundsDeposited" | "TransferReceived" => *balance += cents_of(&event.fields["amount"]),
            "TransferSent" | "HoldCaptured" => *balance -= cents_of(&event.fields["amount"]),
            _ => {}
        }
        let (balance, held) = (*balance, self.holds.held(event.stream));
        findings.expect(balance >= held, Check::Available, || {
            format!("{balance} cents, of which {held} are held, after {event:?}")
        });
        // What set the scene up has no reference.
        let effect = match event.event_type {
            "OrderPlaced" => text(&event.fields["ticket"]["client_order_id"]),
            "FundsDeposited" | "TransferSent" => text(&event.fields["reference"]),
            _ => of_hold,
        };
        if let Some(effect) = effect {
            self.effects.entry(effect).or_default().push(event.end);
        }
    }

    /// Compares what the clients know since the last time with what the log has.
    pub fn judge(&mut self, entries: &[Entry], findings: &Findings) {
        for Entry { request, told, .. } in entries {
            let effects = self.effects.get(&request.effect).map(Vec::as_slice).unwrap_or_default();
            match told {
                Told::Accepted(position) => {
                    findings.expect(effects == [*position], Check::ExactlyOnce, || {
                        format!("{} was acknowledged at {position} and is at {effects:?}", request.key)
                    });
                }
                Told::Refused(code) => findings.expect(effects.is_empty(), Check::RefusedIsAbsent, || {
                    format!("{} was refused with {code} and is at {effects:?}", request.key)
                }),
                Told::Unknown(why) => findings.expect(effects.len() <= 1, Check::UnknownSettles, || {
                    format!("{} is unknown ({why}) and is at {effects:?}", request.key)
                }),
            }
        }
        self.holds.judge(entries, findings);
        self.judged += entries.len();
    }

    /// The journal up to here has been compared.
    pub fn judged(&self) -> usize {
        self.judged
    }

    /// Nothing has an effect that nobody has asked for. `entries` is the whole journal.
    pub fn nothing_else(&self, entries: &[Entry], findings: &Findings) {
        let asked: std::collections::HashSet<&str> =
            entries.iter().map(|entry| entry.request.effect.as_str()).collect();
        for (effect, effects) in &self.effects {
            findings.expect(asked.contains(effect.as_str()), Check::NothingElse, || {
                format!("nobody has asked for {effect}, which is at {effects:?}")
            });
        }
    }
}

/// Keys lie beside what they were sent with.
pub async fn keys_lie_beside(
    pool: &PgPool,
    entries: &[Entry],
    findings: &Findings,
) -> Result<(), sqlx::Error> {
    let answered: Vec<&Entry> =
        entries.iter().filter(|entry| !matches!(entry.told, Told::Unknown(_))).collect();
    for some in answered.chunks(KEYS_AT_ONCE) {
        let principals: Vec<&str> = some.iter().map(|entry| entry.request.who).collect();
        let keys: Vec<&str> = some.iter().map(|entry| entry.request.key.as_str()).collect();
        let rows = sqlx::query(
            "SELECT key, log_position FROM log.idempotency_keys JOIN unnest($1::text[], $2::text[]) AS asked (principal, key) \
             USING (principal, key)",
        )
        .bind(principals)
        .bind(keys)
        .fetch_all(pool)
        .await?;
        let found: HashMap<String, Option<i64>> =
            rows.iter().map(|row| (row.get("key"), row.get("log_position"))).collect();
        for Entry { request, told, .. } in some {
            let expected = match told {
                Told::Accepted(position) => Some(*position as i64),
                _ => None,
            };
            findings.expect(found.get(&request.key) == Some(&expected), Check::KeyBesideEvents, || {
                format!("{} was told {told:?}, its key's row says {:?}", request.key, found.get(&request.key))
            });
        }
    }
    Ok(())
}

/// The bank as the log alone has it, ordered by id.
pub fn bank(log: &LogCheck, scene: &Scene) -> Vec<Standing> {
    let standing = |account: &String| Standing {
        id: account.clone(),
        balance: log.balance(account),
        held: log.holds.held(account),
    };
    let mut bank: Vec<Standing> = scene.bank.iter().map(standing).collect();
    bank.sort();
    bank
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}
