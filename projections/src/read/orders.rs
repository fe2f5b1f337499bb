//! Orders and fills.

use domain::ids::{AccountId, OrderId, PortfolioId, Symbol, TradeId};
use domain::market::Venue;
use domain::order::{Liquidity, OrderSide, OrderStatus, OrderType, SelfTradePrevention, TimeInForce};
use domain::{Code, Decimal, Money, Price, Quantity, Timestamp};
use event_store::LogPosition;

use super::query::{Bind, Which};
use super::ratio::ratio;
use super::{Cursor, Edge, Page, PageRequest, Read, ReadError, ReadModels, amount};
use crate::fold::{Cell, Field as _};
use crate::models::fills::FillRow;
use crate::models::orders::OrderRow;

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
    pub async fn order(&self, order_id: &OrderId) -> Result<Read<Option<Order>>, ReadError> {
        let which = Which::all().filter("t.order_id = ?", order_id.as_str());
        self.rows::<OrderRow>(&["orders"], which)
            .await?
            .try_map(|rows| rows.into_iter().next().map(Order::try_from).transpose())
    }

    /// The orders with these ids, in any order; those that are not there are left out.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn orders_by_id(&self, order_ids: &[OrderId]) -> Result<Read<Vec<Order>>, ReadError> {
        let ids = order_ids.iter().map(|id| id.as_str().to_owned()).collect();
        let which = Which::all().filter("t.order_id = ANY (?)", Bind::Texts(ids));
        self.rows::<OrderRow>(&["orders"], which)
            .await?
            .try_map(|rows| rows.into_iter().map(Order::try_from).collect())
    }

    /// The orders that pass the filter, in the order in which they were placed.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn orders(
        &self,
        filter: &OrderFilter,
        page: &PageRequest,
    ) -> Result<Read<Page<Order>>, ReadError> {
        let statuses: Vec<String> = filter.statuses.iter().map(word).collect();
        let statuses = (!statuses.is_empty()).then_some(Bind::Texts(statuses));
        let which = Which::all()
            .filter_if("t.owner = ?", filter.owner.as_deref())
            .filter_if("t.portfolio_id = ?", filter.portfolio_id.as_ref().map(PortfolioId::as_str))
            .filter_if("t.symbol = ?", filter.symbol.as_ref().map(Symbol::as_str))
            .filter_if("t.status = ANY (?)", statuses)
            .page_by_number(page, "t.placed_position")?;
        self.page(&["orders"], which, page, |row: OrderRow| {
            Ok(Edge { cursor: Cursor::of(row.placed_position), node: row.try_into()? })
        })
        .await
    }

    /// Fills of a portfolio or of an order, in the order of the log.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn fills(&self, of: &FillsOf, page: &PageRequest) -> Result<Read<Page<Fill>>, ReadError> {
        let which = match of {
            FillsOf::Portfolio(id) => Which::all().filter("t.portfolio_id = ?", id.as_str()),
            FillsOf::Order(id) => Which::all().filter("t.order_id = ?", id.as_str()),
        };
        let which = which.page_by_number(page, "t.log_position")?;
        self.page(&["fills"], which, page, |row: FillRow| {
            Ok(Edge { cursor: Cursor::of(row.log_position), node: row.try_into()? })
        })
        .await
    }
}

/// The word of a status in its column.
fn word(status: &OrderStatus) -> String {
    match status.cell() {
        Cell::Text(word) => word.into_owned(),
        _ => String::new(),
    }
}

impl TryFrom<OrderRow> for Order {
    type Error = ReadError;

    fn try_from(row: OrderRow) -> Result<Self, ReadError> {
        let filled_quantity: Quantity = amount("orders", row.base, row.filled_quantity)?;
        let filled_notional: Money = amount("orders", row.quote, row.filled_notional)?;
        Ok(Self {
            average_price: ratio(filled_notional, filled_quantity),
            quantity: row.quantity.map(|units| amount("orders", row.base, units)).transpose()?,
            quote_quantity: row.quote_quantity.map(|units| amount("orders", row.quote, units)).transpose()?,
            fees: amount("orders", row.quote, row.fees)?,
            filled_quantity,
            filled_notional,
            order_id: row.order_id,
            client_order_id: row.client_order_id,
            owner: row.owner,
            portfolio_id: row.portfolio_id,
            account_id: row.account_id,
            symbol: row.symbol,
            venue: row.venue,
            side: row.side,
            order_type: row.order_type,
            time_in_force: row.time_in_force,
            limit_price: row.limit_price,
            self_trade_prevention: row.self_trade_prevention,
            status: row.status,
            reason: row.reason,
            reason_message: row.reason_message,
            created_at: row.created_at,
            updated_at: row.updated_at,
            sequence: row.sequence,
        })
    }
}

impl TryFrom<FillRow> for Fill {
    type Error = ReadError;

    fn try_from(row: FillRow) -> Result<Self, ReadError> {
        let money = |units| amount("fills", row.quote, units);
        Ok(Self {
            quantity: amount("fills", row.base, row.quantity)?,
            notional: money(row.notional)?,
            fee: money(row.fee)?,
            realized_pnl: row.realized_pnl.map(money).transpose()?,
            trade_id: row.trade_id,
            order_id: row.order_id,
            portfolio_id: row.portfolio_id,
            symbol: row.symbol,
            side: row.side,
            price: row.price,
            liquidity: row.liquidity,
            log_position: row.log_position,
            recorded_at: row.recorded_at,
        })
    }
}
