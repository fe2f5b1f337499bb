//! Orders and their fills.

use async_graphql::{Context, ID, Object, SimpleObject};
use event_store::LogPosition as Place;
use projections::read;

use super::{Connection, connection};
use crate::errors::Result;
use crate::graphql::context::{models, page, personal, principal};
use crate::graphql::enums::{Liquidity, OrderSide, OrderStatus, OrderType, SelfTradePrevention, TimeInForce};
use crate::graphql::error_code::ErrorCode;
use crate::graphql::limits::page_cost;
use crate::graphql::scalars::{BigInt, DateTime, Decimal, LogPosition};

/// An order.
pub struct Order {
    row: read::Order,
    read_at: Place,
    at_least: Option<Place>,
}

impl Order {
    /// The order as it was read; what hangs on it is read at `at_least` or later.
    pub fn new(row: read::Order, read_at: Place, at_least: Option<Place>) -> Self {
        Self { row, read_at, at_least }
    }

    /// The order of an answer, if there is one.
    pub fn of(answer: read::Read<Option<read::Order>>, at_least: Option<Place>) -> Option<Self> {
        let read_at = answer.log_position;
        answer.value.map(|row| Self::new(row, read_at, at_least))
    }
}

/// An order.
#[Object]
impl Order {
    /// A UUID.
    async fn id(&self) -> ID {
        ID::from(self.row.order_id.as_str())
    }

    /// The caller's own id; masked for the role operator.
    async fn client_order_id(&self, ctx: &Context<'_>) -> Result<Option<String>> {
        let principal = principal(ctx)?;
        Ok(self.row.client_order_id.as_deref().map(|text| personal(principal, text)))
    }

    /// Holds what is sold and gets what is bought.
    async fn portfolio_id(&self) -> ID {
        ID::from(self.row.portfolio_id.as_str())
    }

    /// The market.
    async fn symbol(&self) -> &str {
        self.row.symbol.as_str()
    }

    /// Buy or sell.
    async fn side(&self) -> OrderSide {
        self.row.side.into()
    }

    /// How the price is found.
    #[graphql(name = "type")]
    async fn order_type(&self) -> OrderType {
        self.row.order_type.into()
    }

    /// How long it lives.
    async fn time_in_force(&self) -> TimeInForce {
        self.row.time_in_force.into()
    }

    /// How much of the base asset.
    async fn quantity(&self) -> Option<Decimal> {
        self.row.quantity.map(Into::into)
    }

    /// For how much of the quote asset.
    async fn quote_quantity(&self) -> Option<Decimal> {
        self.row.quote_quantity.map(Into::into)
    }

    /// The worst price it may trade at.
    async fn limit_price(&self) -> Option<Decimal> {
        self.row.limit_price.map(Into::into)
    }

    /// Not yet working.
    async fn stop_price(&self) -> Option<Decimal> {
        None
    }

    /// Not yet working.
    async fn expires_at(&self) -> Option<DateTime> {
        None
    }

    /// What happens when it meets one of the same owner.
    async fn self_trade_prevention(&self) -> SelfTradePrevention {
        self.row.self_trade_prevention.into()
    }

    /// Where it is in its life.
    async fn status(&self) -> OrderStatus {
        self.row.status.into()
    }

    /// Base asset filled.
    async fn filled_quantity(&self) -> Decimal {
        self.row.filled_quantity.into()
    }

    /// Filled notional by filled quantity, half-even to eight digits.
    async fn average_price(&self) -> Option<Decimal> {
        self.row.average_price.map(Into::into)
    }

    /// In the quote asset.
    async fn fees(&self) -> Decimal {
        self.row.fees.into()
    }

    /// Why it was rejected or expired.
    async fn reason(&self) -> Option<ErrorCode> {
        self.row.reason.map(ErrorCode)
    }

    /// Its fills, oldest first.
    #[graphql(complexity = "page_cost(first, None, child_complexity)")]
    async fn fills(
        &self,
        ctx: &Context<'_>,
        #[graphql(default = 50)] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<Fill>> {
        let request = page(first, after)?;
        let of = read::FillsOf::Order(self.row.order_id.clone());
        let answer = models(ctx, self.at_least)?.fills(&of, &request).await?;
        Ok(connection(answer.value, request.after.is_some(), Fill::from))
    }

    /// When it was placed.
    async fn created_at(&self) -> DateTime {
        self.row.created_at.into()
    }

    /// When its newest event was recorded.
    async fn updated_at(&self) -> DateTime {
        self.row.updated_at.into()
    }

    /// Number of events in the stream.
    async fn sequence(&self) -> BigInt {
        self.row.sequence.into()
    }

    /// The log position that this answer was read at.
    async fn log_position(&self) -> LogPosition {
        self.read_at.into()
    }
}

/// One order's side of a trade.
#[derive(SimpleObject)]
pub struct Fill {
    /// The trade.
    trade_id: ID,
    /// The order.
    order_id: ID,
    /// The market.
    symbol: String,
    /// Bought or sold.
    side: OrderSide,
    /// At this price.
    price: Decimal,
    /// How much of the base asset.
    quantity: Decimal,
    /// Price times quantity.
    notional: Decimal,
    /// In the quote asset.
    fee: Decimal,
    /// Of a fill that reduces a position.
    realized_pnl: Option<Decimal>,
    /// Whether the order rested.
    liquidity: Liquidity,
    /// Where the event is in the log.
    log_position: LogPosition,
    /// When it was recorded.
    recorded_at: DateTime,
}

impl From<read::Fill> for Fill {
    fn from(row: read::Fill) -> Self {
        Self {
            trade_id: ID::from(row.trade_id.as_str()),
            order_id: ID::from(row.order_id.as_str()),
            symbol: row.symbol.to_string(),
            side: row.side.into(),
            price: row.price.into(),
            quantity: row.quantity.into(),
            notional: row.notional.into(),
            fee: row.fee.into(),
            realized_pnl: row.realized_pnl.map(Into::into),
            liquidity: row.liquidity.into(),
            log_position: row.log_position.into(),
            recorded_at: row.recorded_at.into(),
        }
    }
}
