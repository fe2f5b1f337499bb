//! What an event posts: the legs of double entries, read off the events' own comments.
//!
//! Every movement of money or assets is told by each side that has a stream; a party without one (`world`, `fees`,
//! `rounding`, the venues) has its leg posted here, from what the other side says. So each command's debits equal its
//! credits.

use std::sync::Arc;

use domain::account::AccountEvent;
use domain::ids::{MovementId, Party};
use domain::portfolio::PortfolioEvent;
use domain::{AnyEvent, Asset, Timestamp};

use crate::fold::{Command, Fact};
use crate::read::Direction;

/// One leg.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Posting {
    /// Whose: an account, a portfolio or a party without a stream.
    pub(crate) party: Arc<str>,
    pub(crate) counterparty: Arc<str>,
    pub(crate) direction: Direction,
    pub(crate) asset: Asset,
    /// Above zero.
    pub(crate) units: i128,
    pub(crate) kind: &'static str,
    pub(crate) movement_id: Arc<str>,
    pub(crate) reference: Option<String>,
    pub(crate) effective_at: Timestamp,
    /// Whether the party has no stream.
    pub(crate) outside: bool,
}

impl Posting {
    /// What it adds to the party's balance.
    pub(crate) fn signed_units(&self) -> i128 {
        match self.direction {
            Direction::Debit => -self.units,
            Direction::Credit => self.units,
        }
    }
}

/// What the facts of one command post, fact by fact.
pub(crate) fn postings(command: &Command) -> impl Iterator<Item = (&Fact, Vec<Posting>)> {
    command.facts.iter().map(move |fact| (fact, legs(command, fact))).filter(|(_, legs)| !legs.is_empty())
}

/// The legs of one fact, its own first.
fn legs(command: &Command, fact: &Fact) -> Vec<Posting> {
    let mut legs = Legs { fact, posted: Vec::new() };
    match &fact.event {
        AnyEvent::Account(event) => of_account(command, event, &mut legs),
        AnyEvent::Portfolio(event) => of_portfolio(event, &mut legs),
        AnyEvent::Order(_) | AnyEvent::Market(_) | AnyEvent::Quote(_) => {}
    }
    legs.posted
}

struct Legs<'a> {
    fact: &'a Fact,
    posted: Vec<Posting>,
}

/// What a movement is, beside its sides and amount.
struct About<'a> {
    kind: &'static str,
    movement_id: Arc<str>,
    reference: Option<&'a String>,
    effective_at: Option<Timestamp>,
}

impl About<'_> {
    fn new(kind: &'static str, movement_id: impl Into<Arc<str>>) -> Self {
        Self { kind, movement_id: movement_id.into(), reference: None, effective_at: None }
    }
}

impl Legs<'_> {
    /// Posts the leg of the fact's own stream, and that of the counterparty if nobody else will.
    fn post(
        &mut self,
        direction: Direction,
        asset: Asset,
        units: i128,
        counterparty: impl Into<Arc<str>>,
        about: About<'_>,
    ) {
        if units == 0 {
            return;
        }
        let counterparty = counterparty.into();
        let outside = Party::is_name_outside(&counterparty);
        let own = Posting {
            party: Arc::clone(&self.fact.stream),
            counterparty,
            direction,
            asset,
            units,
            kind: about.kind,
            movement_id: about.movement_id,
            reference: about.reference.cloned(),
            effective_at: about.effective_at.unwrap_or(self.fact.recorded_at),
            outside: false,
        };
        let other = outside.then(|| Posting {
            party: Arc::clone(&own.counterparty),
            counterparty: Arc::clone(&own.party),
            direction: match direction {
                Direction::Debit => Direction::Credit,
                Direction::Credit => Direction::Debit,
            },
            outside: true,
            ..own.clone()
        });
        self.posted.push(own);
        self.posted.extend(other);
    }
}

fn of_account(command: &Command, event: &AccountEvent, legs: &mut Legs<'_>) {
    use Direction::{Credit, Debit};
    match event {
        AccountEvent::FundsDeposited { movement_id, from, amount, reference, effective_at } => {
            let about = About {
                kind: "DEPOSIT",
                movement_id: movement_id.into(),
                reference: reference.as_ref(),
                effective_at: *effective_at,
            };
            legs.post(Credit, amount.asset(), amount.units(), from, about);
        }
        AccountEvent::FundsWithdrawn { movement_id, to, amount, reference, effective_at } => {
            let about = About {
                kind: "WITHDRAWAL",
                movement_id: movement_id.into(),
                reference: reference.as_ref(),
                effective_at: *effective_at,
            };
            legs.post(Debit, amount.asset(), amount.units(), to, about);
        }
        AccountEvent::TransferSent { transfer_id, to, amount, reference, effective_at } => {
            let about = About {
                kind: "TRANSFER",
                movement_id: transfer_id.into(),
                reference: reference.as_ref(),
                effective_at: *effective_at,
            };
            legs.post(Debit, amount.asset(), amount.units(), to, about);
        }
        AccountEvent::TransferReceived { transfer_id, from, amount, reference, effective_at } => {
            let about = About {
                kind: if is_capture(command, transfer_id) { "CAPTURE" } else { "TRANSFER" },
                movement_id: transfer_id.into(),
                reference: reference.as_ref(),
                effective_at: *effective_at,
            };
            legs.post(Credit, amount.asset(), amount.units(), from, about);
        }
        AccountEvent::HoldCaptured { transfer_id, to, amount, .. } => {
            let about = About::new("CAPTURE", transfer_id);
            legs.post(Debit, amount.asset(), amount.units(), to, about);
        }
        AccountEvent::PurchaseSettled { trade_id, counterparty, notional, fee, .. } => {
            let purchase = About::new("PURCHASE", trade_id);
            legs.post(Debit, notional.asset(), notional.units(), counterparty, purchase);
            legs.post(Debit, fee.asset(), fee.units(), &Party::FEES, About::new("FEE", trade_id));
        }
        AccountEvent::SaleSettled { trade_id, counterparty, notional, fee, .. } => {
            let sale = About::new("SALE", trade_id);
            legs.post(Credit, notional.asset(), notional.units(), counterparty, sale);
            legs.post(Debit, fee.asset(), fee.units(), &Party::FEES, About::new("FEE", trade_id));
        }
        AccountEvent::AccountOpened { .. }
        | AccountEvent::HoldPlaced { .. }
        | AccountEvent::HoldReleased { .. }
        | AccountEvent::HoldExpired { .. }
        | AccountEvent::OverdraftLimitSet { .. }
        | AccountEvent::AccountFrozen { .. }
        | AccountEvent::AccountUnfrozen { .. }
        | AccountEvent::AccountClosed { .. } => {}
    }
}

fn of_portfolio(event: &PortfolioEvent, legs: &mut Legs<'_>) {
    use Direction::{Credit, Debit};
    match event {
        PortfolioEvent::AssetDeposited { movement_id, from, quantity, reference, .. } => {
            let about = About { reference: reference.as_ref(), ..About::new("ASSET_DEPOSIT", movement_id) };
            legs.post(Credit, quantity.asset(), quantity.units(), from, about);
        }
        PortfolioEvent::AssetWithdrawn { movement_id, to, quantity, reference, .. } => {
            let about =
                About { reference: reference.as_ref(), ..About::new("ASSET_WITHDRAWAL", movement_id) };
            legs.post(Debit, quantity.asset(), quantity.units(), to, about);
        }
        PortfolioEvent::PositionIncreased { trade_id, from, quantity, .. } => {
            let about = About::new("PURCHASE", trade_id);
            legs.post(Credit, quantity.asset(), quantity.units(), from, about);
        }
        PortfolioEvent::PositionReduced { trade_id, to, quantity, .. } => {
            let about = About::new("SALE", trade_id);
            legs.post(Debit, quantity.asset(), quantity.units(), to, about);
        }
        PortfolioEvent::PortfolioOpened { .. }
        | PortfolioEvent::RiskLimitsSet { .. }
        | PortfolioEvent::BuyCommitted { .. }
        | PortfolioEvent::QuantityReserved { .. }
        | PortfolioEvent::CommitmentReleased { .. }
        | PortfolioEvent::ReservationReleased { .. } => {}
    }
}

/// Whether the transfer's first leg in this command is a capture.
fn is_capture(command: &Command, transfer: &MovementId) -> bool {
    command.facts.iter().any(|fact| {
        matches!(&fact.event, AnyEvent::Account(AccountEvent::HoldCaptured { transfer_id, .. }) if transfer_id == transfer)
    })
}
