//! The trial balance: what every asset comes to over all parties.

use domain::{Asset, Decimal};

use event_store::LogPosition;
use sqlx::postgres::PgRow;
use sqlx::{Row as _, ValueRef as _};

use super::query::{checkpoint, checkpoint_of};
use super::{Read, ReadError, ReadModels};
use crate::fold::next_field;

/// What one asset comes to. All columns are of one log position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialBalanceLine {
    /// The asset.
    pub asset: Asset,
    /// Sum of the balances of all accounts.
    pub accounts: Decimal,
    /// Sum of all positions.
    pub positions: Decimal,
    /// Sum of the balances of the parties outside: `world`, `fees`, `rounding` and the venues.
    pub outside: Decimal,
    /// Sum of all debits.
    pub debits: Decimal,
    /// Sum of all credits.
    pub credits: Decimal,
    /// What does not cancel out; always zero.
    pub difference: Decimal,
}

const LEDGER: &[&str] = &["accounts", "positions", "parties", "entries"];

impl ReadModels {
    /// The trial balance, by asset.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::NotYetVisible`] while the four read models are not at one place.
    pub async fn trial_balance(&self) -> Result<Read<Vec<TrialBalanceLine>>, ReadError> {
        let floor = self.ready(LEDGER).await?;
        let sql = format!(
            "WITH {}, sums AS ( \
                 SELECT currency AS asset, balance AS accounts, 0 AS positions, 0 AS outside, 0 AS debits, 0 AS credits \
                     FROM read.accounts \
                 UNION ALL SELECT asset, 0, quantity, 0, 0, 0 FROM read.positions \
                 UNION ALL SELECT asset, 0, 0, balance, 0, 0 FROM read.parties \
                 UNION ALL SELECT asset, 0, 0, 0, debits, credits FROM read.entry_totals) \
             SELECT c.least, c.greatest, s.* FROM checkpoint c LEFT JOIN ( \
                 SELECT asset, sum(accounts)::text, sum(positions)::text, sum(outside)::text, sum(debits)::text, \
                     sum(credits)::text FROM sums GROUP BY asset) s ON true ORDER BY s.asset",
            checkpoint(LEDGER),
        );
        let rows = self.fetch(LEDGER, &sql, Vec::new()).await?;
        let log_position = checkpoint_of(&rows, LEDGER, floor)?;
        let mut value = Vec::with_capacity(rows.len());
        for row in &rows {
            let mut index = 0;
            let least: LogPosition = next_field(row, &mut index, "least")?;
            let greatest: LogPosition = next_field(row, &mut index, "greatest")?;
            if least != greatest {
                let projection = "entries";
                return Err(ReadError::NotYetVisible { projection, at_least: greatest, reached: least });
            }
            if !row.try_get_raw(index)?.is_null() {
                value.push(TrialBalanceLine::read(row, index)?);
            }
        }
        Ok(Read { value, log_position })
    }
}

impl TrialBalanceLine {
    fn read(row: &PgRow, mut index: usize) -> Result<Self, ReadError> {
        let asset: Asset = next_field(row, &mut index, "asset")?;
        let mut units = |column: &str| next_field::<i128>(row, &mut index, column);
        let (accounts, positions, outside) = (units("accounts")?, units("positions")?, units("outside")?);
        let (debits, credits) = (units("debits")?, units("credits")?);
        let balances = accounts + positions + outside;
        let difference = if balances == 0 { credits - debits } else { balances };
        let decimal = |units| Decimal::new(units, asset.scale());
        Ok(Self {
            asset,
            accounts: decimal(accounts),
            positions: decimal(positions),
            outside: decimal(outside),
            debits: decimal(debits),
            credits: decimal(credits),
            difference: decimal(difference),
        })
    }
}
