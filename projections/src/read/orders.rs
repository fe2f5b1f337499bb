//! Orders and fills.

use domain::ids::{AccountId, OrderId, PortfolioId, Symbol, TradeId};
use domain::market::Venue;
use domain::order::{Liquidity, OrderSide, OrderStatus, OrderType, SelfTradePrevention, TimeInForce};
use domain::{Code, Decimal, Money, Price, Quantity, Timestamp};
use event_store::LogPosition;

use super::{Page, PageRequest, Read, ReadError, ReadModels};

/// An order.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// Its id.
    pub order_id: OrderId,
    /// The caller's own id.
    pub client_order_id: Option<String>,
    /// Whose it is.
    pub owner: String,
    /// Holds what is sold and gets what is bought.
    pub portfolio_id: PortfolioId,
    /// Pays and is paid.
    pub account_id: AccountId,
    /// The market.
    pub symbol: Symbol,
    /// The market's venue.
    pub venue: Venue,
    /// Bought or sold.
    pub side: OrderSide,
    /// How the price is found.
    pub order_type: OrderType,
    /// How long it lives.
    pub time_in_force: TimeInForce,
    /// How much of the base asset.
    pub quantity: Option<Quantity>,
    /// For how much of the quote asset.
    pub quote_quantity: Option<Money>,
    /// The worst price it may trade at.
    pub limit_price: Option<Price>,
    /// What happens when it meets one of the same owner.
    pub self_trade_prevention: SelfTradePrevention,
    /// Where it is in its life.
    pub status: OrderStatus,
    /// Base asset filled.
    pub filled_quantity: Quantity,
    /// Quote asset traded, without fees.
    pub filled_notional: Money,
    /// Filled notional by filled quantity, half-even to eight digits.
    pub average_price: Option<Decimal>,
    /// In the quote asset.
    pub fees: Money,
    /// Why it was rejected or expired.
    pub reason: Option<Code>,
    /// The same for people, of a rejected order.
    pub reason_message: Option<String>,
    /// When it was placed.
    pub created_at: Timestamp,
    /// When its newest event was recorded.
    pub updated_at: Timestamp,
    /// Number of events in the stream.
    pub sequence: u64,
}

/// One side of a trade.
#[derive(Clone, Debug, PartialEq)]
pub struct Fill {
    /// The trade.
    pub trade_id: TradeId,
    /// The order.
    pub order_id: OrderId,
    /// The order's portfolio.
    pub portfolio_id: PortfolioId,
    /// The market.
    pub symbol: Symbol,
    /// Bought or sold.
    pub side: OrderSide,
    /// At this price.
    pub price: Price,
    /// How much of the base asset.
    pub quantity: Quantity,
    /// Price times quantity.
    pub notional: Money,
    /// In the quote asset.
    pub fee: Money,
    /// Of a fill that reduces a position.
    pub realized_pnl: Option<Money>,
    /// Whether the order rested.
    pub liquidity: Liquidity,
    /// Where the event is in the log.
    pub log_position: LogPosition,
    /// When it was recorded.
    pub recorded_at: Timestamp,
}

/// Which orders; what is absent does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderFilter {
    /// Only orders of this owner.
    pub owner: Option<String>,
    /// Only orders of this portfolio.
    pub portfolio_id: Option<PortfolioId>,
    /// Only orders on this market.
    pub symbol: Option<Symbol>,
    /// Only orders that stand so; empty for all.
    pub statuses: Vec<OrderStatus>,
}

/// Whose fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FillsOf {
    /// Of all orders of a portfolio.
    Portfolio(PortfolioId),
    /// Of one order.
    Order(OrderId),
}

impl ReadModels {
    /// The order with this id.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn order(&self, _order_id: &OrderId) -> Result<Read<Option<Order>>, ReadError> {
        Err(self.ready(&["orders"]).await.err().unwrap_or(ReadError::InvalidCursor))
    }

    /// The orders that pass the filter, in the order in which they were placed.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn orders(
        &self,
        _filter: &OrderFilter,
        _page: &PageRequest,
    ) -> Result<Read<Page<Order>>, ReadError> {
        Err(self.ready(&["orders"]).await.err().unwrap_or(ReadError::InvalidCursor))
    }

    /// Fills of a portfolio or of an order, in the order of the log.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn fills(&self, _of: &FillsOf, _page: &PageRequest) -> Result<Read<Page<Fill>>, ReadError> {
        Err(self.ready(&["fills"]).await.err().unwrap_or(ReadError::InvalidCursor))
    }
}
