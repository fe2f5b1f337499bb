//! A portfolio as its events have made it.

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::amount::{Money, Quantity};
use crate::asset::Asset;
use crate::decider::Decider;
use crate::ids::{AccountId, MovementId, OrderId, PortfolioId};
use crate::portfolio::{PortfolioCommand, PortfolioEvent, decide};
use crate::refusal::{Code, Refusal};

/// A holding of one asset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// What is held, reserved or not.
    pub quantity: Quantity,
    /// What open sell orders have set aside.
    pub reserved: Quantity,
    /// What the quantity has cost, fees included.
    pub cost: Money,
    /// What sales have brought beyond the cost of what was sold.
    pub realized_pnl: Money,
}

/// What an open order has set aside here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OpenOrder {
    /// A buy order.
    Buy {
        /// What it buys.
        asset: Asset,
        /// The worst notional of what remains of it, for exposure.
        committed: Money,
    },
    /// A sell order.
    Sell {
        /// What remains of it.
        reserved: Quantity,
    },
}

/// The limits of the portfolio risk stage; `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RiskLimits {
    /// Of one order.
    pub max_order_notional: Option<Money>,
    /// Of one position with its open buy orders.
    pub max_position_notional: Option<Money>,
    /// Of all positions with all open buy orders.
    pub max_exposure: Option<Money>,
    /// How many orders may be open.
    pub max_open_orders: Option<u32>,
}

/// A portfolio; `None` inside before it was opened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Portfolio {
    opened: Option<Opened>,
}

/// What is known of a portfolio since it was opened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opened {
    /// Its id.
    pub portfolio_id: PortfolioId,
    /// Whose it is.
    pub owner: String,
    /// What the owner calls it.
    pub name: String,
    /// Pays for purchases and receives proceeds.
    pub cash_account_id: AccountId,
    /// Currency of the cash account.
    pub currency: Asset,
    /// Limits of the portfolio risk stage.
    pub limits: RiskLimits,
    /// Holdings by asset; one that was sold out stays, for its realised P&L.
    pub positions: OrdMap<Asset, Position>,
    /// What open orders have set aside.
    pub open_orders: OrdMap<OrderId, OpenOrder>,
    /// The worst notional of what remains of open buy orders, by asset; only what is above zero.
    pub commitments: OrdMap<Asset, Money>,
    /// The sum of the commitments.
    pub committed: Money,
    /// How many movements it began: the next one's number is one more.
    pub movement_count: u64,
}

impl Portfolio {
    /// The portfolio, if it was opened.
    ///
    /// # Errors
    /// [`Code::PortfolioNotFound`].
    pub fn opened(&self) -> Result<&Opened, Refusal> {
        self.opened
            .as_ref()
            .ok_or_else(|| Refusal::new(Code::PortfolioNotFound, "there is no such portfolio"))
    }
}

impl Position {
    fn none_held(asset: Asset, currency: Asset) -> Self {
        Self {
            quantity: Quantity::zero(asset),
            reserved: Quantity::zero(asset),
            cost: Money::zero(currency),
            realized_pnl: Money::zero(currency),
        }
    }

    /// What is held and not reserved, never below zero.
    pub fn free(&self) -> Quantity {
        // Reserved lies from zero to the quantity, so the difference is always in range.
        self.quantity.minus(self.reserved).unwrap_or_else(|_| Quantity::zero(self.quantity.asset()))
    }
}

impl Opened {
    /// The holding of an asset, if there is or was one.
    pub fn position(&self, asset: Asset) -> Option<&Position> {
        self.positions.get(&asset)
    }

    /// The holding of an asset, with nothing in it if there never was one.
    pub fn position_or_none_held(&self, asset: Asset) -> Position {
        self.position(asset).cloned().unwrap_or_else(|| Position::none_held(asset, self.currency))
    }

    /// `quantity - reserved` of an asset: what can be sold or withdrawn.
    pub fn free(&self, asset: Asset) -> Quantity {
        self.position(asset).map_or_else(|| Quantity::zero(asset), Position::free)
    }

    /// The worst notional of what remains of all open buy orders, in the portfolio's currency.
    pub fn committed_total(&self) -> Money {
        self.committed
    }

    /// The worst notional of what remains of the open orders that buy `asset`.
    pub fn committed_on(&self, asset: Asset) -> Money {
        self.commitments.get(&asset).copied().unwrap_or_else(|| Money::zero(self.currency))
    }

    /// What an open order has set aside.
    pub fn open_order(&self, order_id: &OrderId) -> Option<&OpenOrder> {
        self.open_orders.get(order_id)
    }

    /// How many orders have something set aside.
    pub fn open_order_count(&self) -> usize {
        self.open_orders.len()
    }

    /// The id of the next movement that this portfolio begins.
    pub fn next_movement(&self) -> MovementId {
        MovementId::nth(self.portfolio_id.as_str(), self.movement_count.saturating_add(1))
    }

    fn position_mut(&mut self, asset: Asset) -> &mut Position {
        let currency = self.currency;
        self.positions.entry(asset).or_insert_with(|| Position::none_held(asset, currency))
    }

    /// What a buy order has committed is `committed` from now on; nothing ends the commitment.
    fn commit(&mut self, order_id: &OrderId, asset: Asset, committed: Money) {
        let before = match self.open_orders.remove(order_id) {
            Some(OpenOrder::Buy { committed, .. }) => committed,
            _ => Money::zero(self.currency),
        };
        let mut on_asset = self.committed_on(asset);
        for total in [&mut on_asset, &mut self.committed] {
            total.accumulate(before.negated());
            total.accumulate(committed);
        }
        if on_asset.is_positive() {
            self.commitments.insert(asset, on_asset);
        } else {
            self.commitments.remove(&asset);
        }
        if committed.is_positive() {
            self.open_orders.insert(order_id.clone(), OpenOrder::Buy { asset, committed });
        }
    }

    /// What a sell order has reserved is `reserved` from now on; nothing ends the reservation.
    fn reserve(&mut self, order_id: &OrderId, reserved: Quantity) {
        let before = match self.open_orders.remove(order_id) {
            Some(OpenOrder::Sell { reserved }) => reserved,
            _ => Quantity::zero(reserved.asset()),
        };
        let position = self.position_mut(reserved.asset());
        position.reserved.accumulate(before.negated());
        position.reserved.accumulate(reserved);
        if reserved.is_positive() {
            self.open_orders.insert(order_id.clone(), OpenOrder::Sell { reserved });
        }
    }

    fn take_in(&mut self, quantity: Quantity, cost: Money) {
        let position = self.position_mut(quantity.asset());
        position.quantity.accumulate(quantity);
        position.cost.accumulate(cost);
    }

    fn give_away(&mut self, quantity: Quantity, cost_removed: Money) {
        let position = self.position_mut(quantity.asset());
        position.quantity.accumulate(quantity.negated());
        position.cost.accumulate(cost_removed.negated());
    }

    fn apply(&mut self, event: &PortfolioEvent) {
        use PortfolioEvent as E;
        match event {
            E::PortfolioOpened { .. } => {}
            E::RiskLimitsSet { max_order_notional, max_position_notional, max_exposure, max_open_orders } => {
                self.limits = RiskLimits {
                    max_order_notional: *max_order_notional,
                    max_position_notional: *max_position_notional,
                    max_exposure: *max_exposure,
                    max_open_orders: *max_open_orders,
                };
            }
            E::AssetDeposited { quantity, cost, .. } => {
                self.movement_count += 1;
                self.take_in(*quantity, *cost);
            }
            E::AssetWithdrawn { quantity, cost_removed, .. } => {
                self.movement_count += 1;
                self.give_away(*quantity, *cost_removed);
            }
            E::BuyCommitted { order_id, asset, notional } => self.commit(order_id, *asset, *notional),
            E::QuantityReserved { order_id, quantity } => self.reserve(order_id, *quantity),
            E::PositionIncreased { order_id, quantity, cost, committed, .. } => {
                self.take_in(*quantity, *cost);
                self.commit(order_id, quantity.asset(), *committed);
            }
            E::PositionReduced { order_id, quantity, cost_removed, realized_pnl, reserved, .. } => {
                self.reserve(order_id, *reserved);
                self.give_away(*quantity, *cost_removed);
                self.position_mut(quantity.asset()).realized_pnl.accumulate(*realized_pnl);
            }
            E::CommitmentReleased { order_id, notional } => {
                if let Some(OpenOrder::Buy { asset, .. }) = self.open_orders.get(order_id) {
                    self.commit(order_id, *asset, Money::zero(notional.asset()));
                }
            }
            E::ReservationReleased { order_id, quantity } => {
                self.reserve(order_id, Quantity::zero(quantity.asset()));
            }
        }
    }
}

impl Decider for Portfolio {
    const TYPE: &'static str = "portfolio";
    type Command = PortfolioCommand;
    type Event = PortfolioEvent;

    fn decide(&self, command: &PortfolioCommand, _now: Timestamp) -> Result<Vec<PortfolioEvent>, Refusal> {
        decide::decide(self, command)
    }

    fn apply(&mut self, event: &PortfolioEvent) {
        match (&mut self.opened, event) {
            (
                nothing @ None,
                PortfolioEvent::PortfolioOpened { portfolio_id, owner, name, cash_account_id, currency },
            ) => {
                *nothing = Some(Opened {
                    portfolio_id: portfolio_id.clone(),
                    owner: owner.clone(),
                    name: name.clone(),
                    cash_account_id: cash_account_id.clone(),
                    currency: *currency,
                    limits: RiskLimits::default(),
                    positions: OrdMap::new(),
                    open_orders: OrdMap::new(),
                    commitments: OrdMap::new(),
                    committed: Money::zero(*currency),
                    movement_count: 0,
                });
            }
            (Some(opened), event) => opened.apply(event),
            // Nothing happens to a portfolio before it is opened.
            (None, _) => {}
        }
    }
}
