//! Entries: every leg of every movement, with the party's balance after it; and their sums by asset.

use std::borrow::Cow;
use std::sync::Arc;

use domain::{Asset, Timestamp};
use event_store::LogPosition;

use crate::fold::{Command, FoldError, Projection, add, row, row_set};
use crate::models::posting::postings;
use crate::read::Direction;

row! {
    /// A leg. Those of one event are numbered from 0.
    EntryRow in "entries", append_only
    key { log_position: LogPosition, leg: u64 }
    party: Arc<str>,
    counterparty: Arc<str>,
    direction: Direction,
    asset: Asset,
    amount: i128,
    balance_after: i128,
    kind: Cow<'static, str>,
    movement_id: Arc<str>,
    reference: Option<String>,
    effective_at: Timestamp,
    recorded_at: Timestamp,
}

row! {
    /// What a party's legs in one asset come to.
    BalanceRow in "entry_balances"
    key { party: Arc<str>, asset: Asset }
    balance: i128,
}

row! {
    /// All legs in one asset.
    TotalRow in "entry_totals"
    key { asset: Asset }
    debits: i128,
    credits: i128,
}

row_set!(EntryRows { entries: EntryRow, balances: BalanceRow, totals: TotalRow });

/// The projection.
pub(crate) struct Entries;

impl Projection for Entries {
    const NAME: &'static str = "entries";
    const VERSION: i32 = 1;
    const TABLES: &'static str = include_str!("tables.sql");
    const INDEXES: &'static str = include_str!("indexes.sql");
    type Rows = EntryRows;

    fn touches(command: &Command, rows: &mut EntryRows) {
        for posting in postings(command).flat_map(|(_, legs)| legs) {
            rows.totals.want((posting.asset,));
            rows.balances.want((posting.party, posting.asset));
        }
    }

    fn fold(command: &Command, rows: &mut EntryRows) -> Result<(), FoldError> {
        for (fact, legs) in postings(command) {
            for (leg, posting) in (0..).zip(legs) {
                let asset = posting.asset;
                let total = rows.totals.change_or((asset,), || TotalRow { asset, debits: 0, credits: 0 });
                match posting.direction {
                    Direction::Debit => add(&mut total.debits, posting.units)?,
                    Direction::Credit => add(&mut total.credits, posting.units)?,
                }
                let key = (Arc::clone(&posting.party), asset);
                let balance = rows.balances.change_or(key, || BalanceRow {
                    party: Arc::clone(&posting.party),
                    asset,
                    balance: 0,
                });
                add(&mut balance.balance, posting.signed_units())?;
                let balance_after = balance.balance;
                rows.entries.put(EntryRow {
                    log_position: fact.log_position,
                    leg,
                    party: posting.party,
                    counterparty: posting.counterparty,
                    direction: posting.direction,
                    asset,
                    amount: posting.units,
                    balance_after,
                    kind: posting.kind.into(),
                    movement_id: posting.movement_id,
                    reference: posting.reference,
                    effective_at: posting.effective_at,
                    recorded_at: fact.recorded_at,
                });
            }
        }
        Ok(())
    }
}
