//! A bus on a fresh database, for tests and benches.
//!
//! ```no_run
//! # async fn example() {
//! let house = commands::testing::TestBus::start().await;
//! let account = house.open_account("alice", "EUR").await;
//! house.deposit(&account, "12.50").await;
//! # }
//! ```
//!
//! It panics where a test has failed anyway.

use std::time::Duration;

use domain::account::AccountKind;
use domain::ids::AccountId;
use domain::{Code, Decimal};
use event_store::Log;
use event_store::embedded::testing::TestDatabase;
use sqlx::PgPool;
use uuid::Uuid;

use crate::bus::{Bus, BusContext, BusSettings, PeerSettings};
use crate::principal::{Principal, Role};
use crate::request::{
    Answer, Command, Failure, MoneyMovement, OpenAccount, Outcome, Receipt, Request, Transfer,
};

/// A bus that leads the log of its own database. Both go with the test process.
#[derive(Clone, Debug)]
pub struct TestBus {
    /// The database, with pools of every role.
    pub database: TestDatabase,
    /// Its log.
    pub log: Log,
    /// The bus.
    pub bus: Bus,
}

impl TestBus {
    /// A fresh database and a bus with the default limits.
    ///
    /// # Panics
    /// When PostgreSQL cannot be started.
    pub async fn start() -> Self {
        Self::start_with(BusSettings::default()).await
    }

    /// A fresh database and a bus with these limits.
    ///
    /// # Panics
    /// When PostgreSQL cannot be started.
    pub async fn start_with(settings: BusSettings) -> Self {
        let database = TestDatabase::create().await.expect("a database for tests");
        Self::on(database, "node-1", settings).await
    }

    /// Another node, or the same one again, on a database that is there already.
    ///
    /// # Panics
    /// When PostgreSQL does not answer.
    pub async fn on(database: TestDatabase, node: &str, settings: BusSettings) -> Self {
        let log = Log::open(database.app.clone()).await.expect("the log of a test database");
        let bus = Bus::start(BusContext { settings, ..BusContext::new(node, log.clone()) }).await;
        Self { database, log, bus }
    }

    /// A node among others on a database that is there already: it forwards to the one that leads. When this returns, one
    /// of them leads and can be reached.
    ///
    /// # Panics
    /// When PostgreSQL does not answer, or no node leads.
    pub async fn join(database: TestDatabase, node: &str, settings: BusSettings) -> Self {
        let log = Log::open(database.app.clone()).await.expect("the log of a test database");
        let context = BusContext {
            settings,
            peer: Some(PeerSettings::loopback()),
            ..BusContext::new(node, log.clone())
        };
        let bus = Bus::start(context).await;
        assert!(bus.served_within(Duration::from_secs(20)).await, "no node leads");
        Self { database, log, bus }
    }

    /// The application's pool.
    pub fn pool(&self) -> &PgPool {
        &self.database.app
    }

    /// Stops the bus and starts another of the same name on the same database.
    pub async fn restart(self, settings: BusSettings) -> Self {
        self.bus.stop().await;
        Self::on(self.database, "node-1", settings).await
    }

    /// Executes the command as `principal` with a key of its own.
    ///
    /// # Errors
    /// As [`Bus::execute`].
    pub async fn execute(&self, principal: &Principal, command: Command) -> Result<Receipt, Failure> {
        self.bus.execute(request(principal, &Uuid::now_v7().to_string(), command)).await
    }

    /// Executes the command and gives its answer.
    ///
    /// # Panics
    /// When it is not accepted.
    pub async fn accepted(&self, principal: &Principal, command: Command) -> Answer {
        match self.execute(principal, command).await {
            Ok(Receipt { outcome: Outcome::Accepted(answer), .. }) => answer,
            other => panic!("expected to be accepted, got {other:?}"),
        }
    }

    /// Executes the command and gives the code with which it is refused.
    ///
    /// # Panics
    /// When it is not refused.
    pub async fn refused(&self, principal: &Principal, command: Command) -> Code {
        match self.execute(principal, command).await {
            Ok(Receipt { outcome: Outcome::Refused(refusal), .. }) => refusal.code,
            Err(failure) => failure.code(),
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    /// Opens an empty account of `owner`, by an administrator.
    ///
    /// # Panics
    /// When it is not accepted.
    pub async fn open_account(&self, owner: &str, currency: &str) -> AccountId {
        self.accepted(&admin(), open_account(owner, currency)).await.account_id.expect("an account's id")
    }

    /// Deposits into the account, by an administrator.
    ///
    /// # Panics
    /// When it is not accepted.
    pub async fn deposit(&self, account: &AccountId, amount: &str) -> Answer {
        self.accepted(&admin(), deposit(account, amount)).await
    }
}

/// A request with this key.
pub fn request(principal: &Principal, key: &str, command: Command) -> Request {
    Request {
        principal: principal.clone(),
        idempotency_key: key.to_owned(),
        correlation_id: Uuid::now_v7(),
        command,
    }
}

/// A principal who may do everything that a key can allow.
pub fn admin() -> Principal {
    Principal { name: "admin".into(), role: Role::Admin, owner: None }
}

/// A trader of the owner of the same name.
pub fn trader(owner: &str) -> Principal {
    Principal { name: owner.into(), role: Role::Trader, owner: Some(owner.into()) }
}

/// Opens an account.
///
/// # Panics
/// When the currency is not one.
pub fn open_account(owner: &str, currency: &str) -> Command {
    Command::OpenAccount(OpenAccount {
        owner: owner.to_owned(),
        currency: currency.parse().expect("a currency"),
        kind: AccountKind::Current,
        overdraft_limit: decimal("0"),
    })
}

/// Deposits into an account.
///
/// # Panics
/// When the amount is not a number.
pub fn deposit(account: &AccountId, amount: &str) -> Command {
    Command::Deposit(movement(account, amount))
}

/// Withdraws from an account.
///
/// # Panics
/// When the amount is not a number.
pub fn withdraw(account: &AccountId, amount: &str) -> Command {
    Command::Withdraw(movement(account, amount))
}

/// Transfers between two accounts.
///
/// # Panics
/// When the amount is not a number.
pub fn transfer(from: &AccountId, to: &AccountId, amount: &str) -> Command {
    Command::Transfer(Transfer {
        from: from.clone(),
        to: to.clone(),
        amount: decimal(amount),
        reference: None,
        effective_at: None,
    })
}

fn movement(account: &AccountId, amount: &str) -> MoneyMovement {
    MoneyMovement {
        account_id: account.clone(),
        amount: decimal(amount),
        reference: None,
        effective_at: None,
    }
}

fn decimal(text: &str) -> Decimal {
    text.parse().expect("a decimal number")
}

/// The answer of an accepted request.
pub fn answer(reply: &Result<Receipt, Failure>) -> Answer {
    match reply {
        Ok(Receipt { outcome: Outcome::Accepted(answer), .. }) => answer.clone(),
        other => panic!("expected to be accepted, got {other:?}"),
    }
}

/// The code with which a request was refused.
pub fn code(reply: &Result<Receipt, Failure>) -> Code {
    match reply {
        Ok(Receipt { outcome: Outcome::Refused(refusal), .. }) => refusal.code,
        Err(failure) => failure.code(),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// How many events of the type there are.
pub async fn count_of(house: &TestBus, event_type: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM log.events WHERE event_type = $1")
        .bind(event_type)
        .fetch_one(house.pool())
        .await
        .unwrap()
}

/// How many rows a table of the log has.
pub async fn count(house: &TestBus, table: &str) -> i64 {
    sqlx::query_scalar(&format!("SELECT count(*) FROM log.{table}")).fetch_one(house.pool()).await.unwrap()
}
