//! Parties without a stream: their balances follow from what others' events say of them.

use std::sync::Arc;

use domain::Asset;

use crate::fold::{Command, FoldError, Projection, add, row, row_set};
use crate::models::posting::{Posting, postings};

row! {
    /// What one asset comes to at one party.
    PartyRow in "parties"
    key { party: Arc<str>, asset: Asset }
    balance: i128,
}

row_set!(PartyRows { parties: PartyRow });

/// The projection.
pub(crate) struct Parties;

fn outside_legs(command: &Command) -> impl Iterator<Item = Posting> {
    postings(command).flat_map(|(_, legs)| legs).filter(|posting| posting.outside)
}

impl Projection for Parties {
    const NAME: &'static str = "parties";
    const VERSION: i32 = 1;
    const TABLES: &'static str = include_str!("tables.sql");
    const INDEXES: &'static str = "";
    type Rows = PartyRows;

    fn touches(command: &Command, rows: &mut PartyRows) {
        for posting in outside_legs(command) {
            rows.parties.want((posting.party, posting.asset));
        }
    }

    fn fold(command: &Command, rows: &mut PartyRows) -> Result<(), FoldError> {
        for posting in outside_legs(command) {
            let units = posting.signed_units();
            let (party, asset) = (posting.party, posting.asset);
            let row =
                rows.parties.change_or((party.clone(), asset), || PartyRow { party, asset, balance: 0 });
            add(&mut row.balance, units)?;
        }
        Ok(())
    }
}
