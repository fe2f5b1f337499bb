//! Accounts, their entries and holds, and transfers.

use domain::account::{AccountKind, AccountStatus};
use domain::ids::{AccountId, HoldId, MovementId, OrderId};
use domain::{Asset, Money, Timestamp};
use event_store::LogPosition;

use super::{Page, PageRequest, Read, ReadError, ReadModels};

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

impl ReadModels {
    /// The account with this id.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn account(&self, _account_id: &AccountId) -> Result<Read<Option<Account>>, ReadError> {
        Err(self.ready(&["accounts"]).await.err().unwrap_or(ReadError::InvalidCursor))
    }

    /// The accounts with these ids, in any order; those that are not there are left out.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn accounts_by_id(&self, _account_ids: &[AccountId]) -> Result<Read<Vec<Account>>, ReadError> {
        Err(self.ready(&["accounts"]).await.err().unwrap_or(ReadError::InvalidCursor))
    }

    /// Accounts of one owner or of all, in the order in which they were opened.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn accounts(
        &self,
        _owner: Option<&str>,
        _page: &PageRequest,
    ) -> Result<Read<Page<Account>>, ReadError> {
        Err(self.ready(&["accounts"]).await.err().unwrap_or(ReadError::InvalidCursor))
    }

    /// Entries of an account, in the order of the log.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn entries(
        &self,
        _account_id: &AccountId,
        _page: &PageRequest,
    ) -> Result<Read<Page<Entry>>, ReadError> {
        Err(self.ready(&["entries"]).await.err().unwrap_or(ReadError::InvalidCursor))
    }

    /// The hold with this id.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn hold(&self, _hold_id: &HoldId) -> Result<Read<Option<Hold>>, ReadError> {
        Err(self.ready(&["holds"]).await.err().unwrap_or(ReadError::InvalidCursor))
    }

    /// Holds of an account in the order in which they were placed: the open ones, the ended ones, or all.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn holds(
        &self,
        _account_id: &AccountId,
        _open: Option<bool>,
        _page: &PageRequest,
    ) -> Result<Read<Page<Hold>>, ReadError> {
        Err(self.ready(&["holds"]).await.err().unwrap_or(ReadError::InvalidCursor))
    }

    /// The transfer with this id.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn transfer(&self, _transfer_id: &MovementId) -> Result<Read<Option<Transfer>>, ReadError> {
        Err(self.ready(&["transfers"]).await.err().unwrap_or(ReadError::InvalidCursor))
    }
}
