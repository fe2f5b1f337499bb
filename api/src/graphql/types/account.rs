//! Accounts with their entries and holds.

use async_graphql::{Context, ID, Object, SimpleObject};
use commands::Principal;
use event_store::LogPosition as Position;
use projections::read;

use super::{Connection, connection};
use crate::errors::Result;
use crate::graphql::context::{self, models, page, personal, principal};
use crate::graphql::enums::{AccountKind, AccountStatus, Direction, HoldStatus};
use crate::graphql::limits::page_cost;
use crate::graphql::scalars::{BigInt, DateTime, Decimal, LogPosition};

/// An account.
pub struct Account {
    row: read::Account,
    read_at: Position,
    at_least: Option<Position>,
}

impl Account {
    /// The account as it was read; what hangs on it is read at `at_least` or later.
    pub fn new(row: read::Account, read_at: Position, at_least: Option<Position>) -> Self {
        Self { row, read_at, at_least }
    }

    /// The account of an answer, if there is one.
    pub fn of(answer: read::Read<Option<read::Account>>, at_least: Option<Position>) -> Option<Self> {
        let read_at = answer.log_position;
        answer.value.map(|row| Self::new(row, read_at, at_least))
    }
}

/// An account.
#[Object]
impl Account {
    /// A UUID.
    async fn id(&self) -> ID {
        ID::from(self.row.account_id.as_str())
    }

    /// Whose it is; masked for the role operator.
    async fn owner(&self, ctx: &Context<'_>) -> Result<String> {
        Ok(personal(principal(ctx)?, &self.row.owner))
    }

    /// What it is for.
    async fn kind(&self) -> AccountKind {
        self.row.kind.into()
    }

    /// What it is kept in.
    async fn currency(&self) -> String {
        self.row.currency.to_string()
    }

    /// Whether movements are allowed.
    async fn status(&self) -> AccountStatus {
        self.row.status.into()
    }

    /// Posted: every credit minus every debit.
    async fn balance(&self) -> Decimal {
        self.row.balance.into()
    }

    /// What open holds still hold.
    async fn held(&self) -> Decimal {
        self.row.held.into()
    }

    /// balance - held + overdraftLimit
    async fn available(&self) -> Decimal {
        self.row.available.into()
    }

    /// How far below zero the balance may go.
    async fn overdraft_limit(&self) -> Decimal {
        self.row.overdraft_limit.into()
    }

    /// Number of events in the stream.
    async fn sequence(&self) -> BigInt {
        self.row.sequence.into()
    }

    /// The log position that this answer was read at.
    async fn log_position(&self) -> LogPosition {
        self.read_at.into()
    }

    /// Its entries, oldest first.
    #[graphql(complexity = "page_cost(first, None, child_complexity)")]
    async fn entries(
        &self,
        ctx: &Context<'_>,
        #[graphql(default = 50)] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<Entry>> {
        let principal = principal(ctx)?;
        let request = page(first, after)?;
        let answer = models(ctx, self.at_least)?.entries(&self.row.account_id, &request).await?;
        Ok(connection(answer.value, request.after.is_some(), |row| Entry::new(row, principal)))
    }

    /// Its holds in the order in which they were placed: the open ones, the ended ones, or all.
    #[graphql(complexity = "page_cost(first, None, child_complexity)")]
    async fn holds(
        &self,
        ctx: &Context<'_>,
        open: Option<bool>,
        #[graphql(default = 50)] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<Hold>> {
        let principal = principal(ctx)?;
        let request = page(first, after)?;
        let answer = models(ctx, self.at_least)?.holds(&self.row.account_id, open, &request).await?;
        Ok(connection(answer.value, request.after.is_some(), |row| Hold::new(row, principal)))
    }
}

/// One leg of a double entry.
#[derive(SimpleObject)]
pub struct Entry {
    /// Where the event is in the log.
    log_position: LogPosition,
    /// The account.
    account_id: ID,
    /// The other side: an account, or a party such as world, fees or venue:paper.
    counterparty: String,
    /// Which side.
    direction: Direction,
    /// Above zero.
    amount: Decimal,
    /// The account's balance with this leg.
    balance_after: Decimal,
    /// DEPOSIT, WITHDRAWAL, TRANSFER, CAPTURE, PURCHASE, SALE or FEE.
    kind: String,
    /// The deposit, withdrawal, transfer or trade it belongs to.
    movement_id: ID,
    /// What it is for; masked for the role operator.
    reference: Option<String>,
    /// When it counts.
    effective_at: DateTime,
    /// When it was recorded.
    recorded_at: DateTime,
}

impl Entry {
    fn new(row: read::Entry, principal: &Principal) -> Self {
        Self {
            log_position: row.log_position.into(),
            account_id: ID::from(row.account_id.as_str()),
            counterparty: row.counterparty,
            direction: match row.direction {
                read::Direction::Debit => Direction::Debit,
                read::Direction::Credit => Direction::Credit,
            },
            amount: row.amount.into(),
            balance_after: row.balance_after.into(),
            kind: row.kind,
            movement_id: ID::from(row.movement_id),
            reference: row.reference.map(|text| personal(principal, &text)),
            effective_at: row.effective_at.into(),
            recorded_at: row.recorded_at.into(),
        }
    }
}

/// Money set aside.
#[derive(SimpleObject)]
pub struct Hold {
    /// Names its account, too.
    id: ID,
    /// The account it is on.
    account_id: ID,
    /// What it held at first.
    amount: Decimal,
    /// What was paid out of it.
    captured: Decimal,
    /// What it still holds.
    remaining: Decimal,
    /// How it stands.
    status: HoldStatus,
    /// When it ends by itself.
    expires_at: Option<DateTime>,
    /// What it is for; masked for the role operator.
    reference: Option<String>,
    /// The order it pays for, if it does.
    order_id: Option<ID>,
}

impl Hold {
    /// The hold as `principal` may see it.
    pub fn new(row: read::Hold, principal: &Principal) -> Self {
        Self {
            id: ID::from(row.hold_id.as_str()),
            account_id: ID::from(row.account_id.as_str()),
            amount: row.amount.into(),
            captured: row.captured.into(),
            remaining: row.remaining.into(),
            status: match row.status {
                read::HoldStatus::Open => HoldStatus::Open,
                read::HoldStatus::Captured => HoldStatus::Captured,
                read::HoldStatus::Released => HoldStatus::Released,
                read::HoldStatus::Expired => HoldStatus::Expired,
            },
            expires_at: row.expires_at.map(Into::into),
            reference: row.reference.map(|text| personal(principal, &text)),
            order_id: row.order_id.map(|id| ID::from(id.as_str())),
        }
    }
}

/// Opening balance, lines and closing balance of a period by effective time. Not yet working.
pub struct Statement;

/// Opening balance, lines and closing balance of a period by effective time. Not yet working.
#[Object]
impl Statement {
    /// The account.
    async fn account(&self) -> Result<Account> {
        Err(context::not_supported("a statement"))
    }

    /// Start of the period.
    async fn from(&self) -> Result<DateTime> {
        Err(context::not_supported("a statement"))
    }

    /// End of the period.
    async fn to(&self) -> Result<DateTime> {
        Err(context::not_supported("a statement"))
    }

    /// Balance at the start.
    async fn opening(&self) -> Result<Decimal> {
        Err(context::not_supported("a statement"))
    }

    /// Balance at the end.
    async fn closing(&self) -> Result<Decimal> {
        Err(context::not_supported("a statement"))
    }

    /// What happened in between.
    async fn lines(&self) -> Result<Connection<Entry>> {
        Err(context::not_supported("a statement"))
    }
}
