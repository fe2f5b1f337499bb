//! Accounts, their entries and holds, and transfers.

use domain::account::{AccountKind, AccountStatus};
use domain::ids::{AccountId, HoldId, MovementId, OrderId};
use domain::{Asset, Money, Timestamp};
use event_store::LogPosition;

use super::query::{Bind, Which};
use super::{Cursor, Edge, Page, PageRequest, Read, ReadError, ReadModels, amount};
use crate::models::accounts::AccountRow;
use crate::models::entries::EntryRow;
use crate::models::holds::HoldRow;
use crate::models::transfers::TransferRow;

/// An account.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// Its id.
    pub account_id: AccountId,
    /// Whose it is.
    pub owner: String,
    /// What it is for.
    pub kind: AccountKind,
    /// What it is kept in.
    pub currency: Asset,
    /// Whether movements are allowed.
    pub status: AccountStatus,
    /// Posted: every credit minus every debit.
    pub balance: Money,
    /// What open holds still hold.
    pub held: Money,
    /// `balance - held + overdraft_limit`.
    pub available: Money,
    /// How far below zero the balance may go.
    pub overdraft_limit: Money,
    /// Number of events in the stream.
    pub sequence: u64,
}

/// Which side of a movement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Less for the party.
    Debit,
    /// More for the party.
    Credit,
}

/// One leg of a double entry in an account.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Where the event is in the log.
    pub log_position: LogPosition,
    /// The account.
    pub account_id: AccountId,
    /// The other side: an account or a party such as `world`, `fees` or `venue:paper`.
    pub counterparty: String,
    /// Which side.
    pub direction: Direction,
    /// Above zero.
    pub amount: Money,
    /// The account's balance with this leg.
    pub balance_after: Money,
    /// `DEPOSIT`, `WITHDRAWAL`, `TRANSFER`, `CAPTURE`, `PURCHASE`, `SALE` or `FEE`.
    pub kind: String,
    /// The deposit, withdrawal, transfer or trade it belongs to.
    pub movement_id: String,
    /// What the customer said it is for.
    pub reference: Option<String>,
    /// When it counts.
    pub effective_at: Timestamp,
    /// When it was recorded.
    pub recorded_at: Timestamp,
}

/// Where a hold is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HoldStatus {
    /// It holds.
    Open,
    /// It was paid out of, and has ended with that.
    Captured,
    /// It was ended without paying the rest.
    Released,
    /// Its time had come.
    Expired,
}

/// A hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Hold {
    /// Its id.
    pub hold_id: HoldId,
    /// The account it is on.
    pub account_id: AccountId,
    /// What it held at first.
    pub amount: Money,
    /// What was paid out of it.
    pub captured: Money,
    /// What it still holds.
    pub remaining: Money,
    /// Where it is in its life.
    pub status: HoldStatus,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// What it is for.
    pub reference: Option<String>,
    /// The order it pays for.
    pub order_id: Option<OrderId>,
}

/// A transfer between accounts, of its own or out of a hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Transfer {
    /// Its id.
    pub transfer_id: MovementId,
    /// Pays.
    pub from: AccountId,
    /// Is paid.
    pub to: AccountId,
    /// How much.
    pub amount: Money,
    /// What it is for.
    pub reference: Option<String>,
    /// When it counts.
    pub effective_at: Timestamp,
    /// Where its first leg is in the log.
    pub log_position: LogPosition,
    /// When it was recorded.
    pub recorded_at: Timestamp,
}

const ACCOUNTS: &[&str] = &["accounts"];

impl ReadModels {
    /// The account with this id.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn account(&self, account_id: &AccountId) -> Result<Read<Option<Account>>, ReadError> {
        let which = Which::all().filter("t.account_id = ?", account_id.as_str());
        self.rows::<AccountRow>(ACCOUNTS, which)
            .await?
            .try_map(|rows| rows.into_iter().next().map(Account::try_from).transpose())
    }

    /// The accounts with these ids, in any order; those that are not there are left out.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn accounts_by_id(&self, account_ids: &[AccountId]) -> Result<Read<Vec<Account>>, ReadError> {
        self.rows::<AccountRow>(ACCOUNTS, by_id(account_ids))
            .await?
            .try_map(|rows| rows.into_iter().map(Account::try_from).collect())
    }

    /// Accounts of one owner or of all, in the order in which they were opened.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn accounts(
        &self,
        owner: Option<&str>,
        page: &PageRequest,
    ) -> Result<Read<Page<Account>>, ReadError> {
        let which = Which::all().filter_if("t.owner = ?", owner).page_by_id(page, "t.account_id");
        self.page(ACCOUNTS, which, page, |row: AccountRow| {
            Ok(Edge { cursor: Cursor::of(&row.account_id), node: row.try_into()? })
        })
        .await
    }

    /// Entries of an account, in the order of the log.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn entries(
        &self,
        account_id: &AccountId,
        page: &PageRequest,
    ) -> Result<Read<Page<Entry>>, ReadError> {
        let mut which = Which::all().filter("t.party = ?", account_id.as_str());
        let (comparison, order) = if page.newest_first { ("<", "DESC") } else { (">", "ASC") };
        if let Some(cursor) = &page.after {
            let (position, leg) = cursor.numbers()?;
            which = which
                .filter(&format!("(t.log_position, t.leg) {comparison} (?, {leg})"), Bind::Int(position));
        }
        let limit = page.limit() + 1;
        let which = which.then(format!("ORDER BY t.log_position {order}, t.leg {order} LIMIT {limit}"));
        self.page(&["entries"], which, page, |row: EntryRow| {
            Ok(Edge {
                cursor: Cursor::of(format_args!("{}.{}", row.log_position, row.leg)),
                node: row.try_into()?,
            })
        })
        .await
    }

    /// The hold with this id.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn hold(&self, hold_id: &HoldId) -> Result<Read<Option<Hold>>, ReadError> {
        let which = Which::all().filter("t.hold_id = ?", hold_id.as_str());
        self.rows::<HoldRow>(&["holds"], which)
            .await?
            .try_map(|rows| rows.into_iter().next().map(Hold::try_from).transpose())
    }

    /// Holds of an account in the order in which they were placed: the open ones, the ended ones, or all.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn holds(
        &self,
        account_id: &AccountId,
        open: Option<bool>,
        page: &PageRequest,
    ) -> Result<Read<Page<Hold>>, ReadError> {
        let which = Which::all().filter("t.account_id = ?", account_id.as_str());
        let which = match open {
            Some(true) => which.filter("t.status = ?", "OPEN"),
            Some(false) => which.filter("t.status <> ?", "OPEN"),
            None => which,
        };
        let which = which.page_by_number(page, "t.placed_position")?;
        self.page(&["holds"], which, page, |row: HoldRow| {
            Ok(Edge { cursor: Cursor::of(row.placed_position), node: row.try_into()? })
        })
        .await
    }

    /// The transfer with this id.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn transfer(&self, transfer_id: &MovementId) -> Result<Read<Option<Transfer>>, ReadError> {
        let which = Which::all().filter("t.transfer_id = ?", transfer_id.as_str());
        self.rows::<TransferRow>(&["transfers"], which)
            .await?
            .try_map(|rows| rows.into_iter().next().map(Transfer::try_from).transpose())
    }

    /// The transfers with these ids, in any order; those that are not there are left out.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn transfers_by_id(
        &self,
        transfer_ids: &[MovementId],
    ) -> Result<Read<Vec<Transfer>>, ReadError> {
        let ids = transfer_ids.iter().map(|id| id.as_str().to_owned()).collect();
        let which = Which::all().filter("t.transfer_id = ANY (?)", Bind::Texts(ids));
        self.rows::<TransferRow>(&["transfers"], which)
            .await?
            .try_map(|rows| rows.into_iter().map(Transfer::try_from).collect())
    }
}

pub(super) fn by_id(account_ids: &[AccountId]) -> Which {
    let ids = account_ids.iter().map(|id| id.as_str().to_owned()).collect();
    Which::all().filter("t.account_id = ANY (?)", Bind::Texts(ids))
}

impl TryFrom<AccountRow> for Account {
    type Error = ReadError;

    fn try_from(row: AccountRow) -> Result<Self, ReadError> {
        let money = |units| amount("accounts", row.currency, units);
        Ok(Self {
            balance: money(row.balance)?,
            held: money(row.held)?,
            available: money(row.balance - row.held + row.overdraft_limit)?,
            overdraft_limit: money(row.overdraft_limit)?,
            account_id: row.account_id,
            owner: row.owner,
            kind: row.kind,
            currency: row.currency,
            status: row.status,
            sequence: row.sequence,
        })
    }
}

impl TryFrom<EntryRow> for Entry {
    type Error = ReadError;

    fn try_from(row: EntryRow) -> Result<Self, ReadError> {
        Ok(Self {
            log_position: row.log_position,
            account_id: AccountId::new(row.party),
            counterparty: row.counterparty.to_string(),
            direction: row.direction,
            amount: amount("entries", row.asset, row.amount)?,
            balance_after: amount("entries", row.asset, row.balance_after)?,
            kind: row.kind.into_owned(),
            movement_id: row.movement_id.to_string(),
            reference: row.reference,
            effective_at: row.effective_at,
            recorded_at: row.recorded_at,
        })
    }
}

impl TryFrom<HoldRow> for Hold {
    type Error = ReadError;

    fn try_from(row: HoldRow) -> Result<Self, ReadError> {
        let money = |units| amount("holds", row.currency, units);
        Ok(Self {
            amount: money(row.amount)?,
            captured: money(row.captured)?,
            remaining: money(row.remaining)?,
            hold_id: row.hold_id,
            account_id: row.account_id,
            status: row.status,
            expires_at: row.expires_at,
            reference: row.reference,
            order_id: row.order_id,
        })
    }
}

impl TryFrom<TransferRow> for Transfer {
    type Error = ReadError;

    fn try_from(row: TransferRow) -> Result<Self, ReadError> {
        Ok(Self {
            amount: amount("transfers", row.currency, row.amount)?,
            transfer_id: row.transfer_id,
            from: row.from_account,
            to: row.to_account,
            reference: row.reference,
            effective_at: row.effective_at,
            log_position: row.log_position,
            recorded_at: row.recorded_at,
        })
    }
}
