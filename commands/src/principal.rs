//! Who asks, and what each role may do.

use std::sync::Arc;

use domain::{Code, Refusal};
use serde::{Deserialize, Serialize};

use crate::request::Command;

/// What a key is for. One key has one role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Trades for one owner.
    Trader,
    /// Runs the platform: deposits, withdrawals, markets, projections.
    Operator,
    /// Sets limits.
    Risk,
    /// Freezes and unfreezes.
    Compliance,
    /// Reads everything, changes nothing.
    Auditor,
    /// May do everything.
    Admin,
    /// Daybook itself: feeds, timers and venues. No key has this role.
    System,
}

impl Role {
    /// The roles a key can have.
    pub const OF_KEYS: [Role; 6] =
        [Role::Trader, Role::Operator, Role::Risk, Role::Compliance, Role::Auditor, Role::Admin];

    /// The role as text, for example `trader`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Trader => "trader",
            Role::Operator => "operator",
            Role::Risk => "risk",
            Role::Compliance => "compliance",
            Role::Auditor => "auditor",
            Role::Admin => "admin",
            Role::System => "system",
        }
    }

    /// Whether the role may read what belongs to any owner.
    pub const fn reads_everything(self) -> bool {
        !matches!(self, Role::Trader)
    }

    /// Whether the role may see owners, names and references.
    pub const fn sees_personal_data(self) -> bool {
        !matches!(self, Role::Operator)
    }

    /// Whether the role may issue the command at all; whose things it may touch is decided with the command.
    pub const fn may_issue(self, command: &Command) -> bool {
        match command {
            Command::OpenAccount(_)
            | Command::Transfer(_)
            | Command::PlaceHold(_)
            | Command::CaptureHold(_)
            | Command::ReleaseHold(_)
            | Command::CloseAccount(_)
            | Command::OpenPortfolio(_)
            | Command::PlaceOrder(_)
            | Command::CancelOrder(_) => matches!(self, Role::Trader | Role::Admin),
            Command::Deposit(_)
            | Command::Withdraw(_)
            | Command::DepositAsset(_)
            | Command::WithdrawAsset(_)
            | Command::RegisterMarket(_)
            | Command::HaltMarket(_)
            | Command::ResumeMarket(_) => matches!(self, Role::Operator | Role::Admin),
            Command::SetOverdraftLimit(_) | Command::SetRiskLimits(_) => {
                matches!(self, Role::Risk | Role::Admin)
            }
            Command::FreezeAccount(_) | Command::UnfreezeAccount(_) => {
                matches!(self, Role::Compliance | Role::Admin)
            }
            Command::ObservePrices(_) | Command::ReportExecution(_) | Command::ExpireHolds(_) => {
                matches!(self, Role::System)
            }
        }
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Role::OF_KEYS.into_iter().find(|role| role.as_str() == text).ok_or_else(|| {
            format!("unknown role {text:?}; roles are trader, operator, risk, compliance, auditor and admin")
        })
    }
}

/// A named key or process with one role and, for traders, an owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Principal {
    /// Its name: the actor of the events it causes. Idempotency keys are unique within it.
    pub name: Arc<str>,
    /// What it may do.
    pub role: Role,
    /// Whose things a trader may touch.
    pub owner: Option<Arc<str>>,
}

impl Principal {
    /// Daybook itself, acting as the named process.
    pub fn system(process: &str) -> Self {
        Self { name: process.into(), role: Role::System, owner: None }
    }

    /// Whether it may touch what belongs to `owner`.
    pub fn acts_for(&self, owner: &str) -> bool {
        match self.role {
            Role::Trader => self.owner.as_deref() == Some(owner),
            _ => true,
        }
    }

    /// # Errors
    /// [`Code::Forbidden`] if the role may not issue the command.
    pub fn authorise(&self, command: &Command) -> Result<(), Refusal> {
        if self.role.may_issue(command) {
            return Ok(());
        }
        Err(Refusal::new(
            Code::Forbidden,
            format!("the role {} may not do this; use a key of a role that may", self.role.as_str()),
        ))
    }
}
