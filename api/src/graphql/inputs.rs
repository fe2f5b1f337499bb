//! The inputs of mutations, as the schema has them.

use async_graphql::{ID, InputObject};

use super::enums::{
    AccountKind, DayCount, OrderSide, OrderType, SelfTradePrevention, TimeInForce, TradingScope, Venue,
};
use super::scalars::{DateTime, Decimal};

macro_rules! inputs {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)+ })+) => {$(
        $(#[$meta])*
        #[derive(InputObject, Clone, Debug)]
        pub struct $name {
            /// Chosen by the caller: at most 128 printable ASCII characters. Asking again with the same key gives the first answer.
            pub idempotency_key: String,
            $($(#[$field_meta])* pub $field: $type,)+
        }
    )+};
}

inputs! {
    /// An account to open.
    OpenAccountInput {
        /// Whose it will be.
        owner: String,
        /// An asset: an ISO 4217 currency or an instrument's asset such as USDT.
        currency: String,
        /// What it is for.
        #[graphql(default_with = "AccountKind::Current")]
        kind: AccountKind,
        /// How far below zero it may go; other than zero needs the role admin.
        #[graphql(default_with = "Decimal(\"0\".to_owned())")]
        overdraft_limit: Decimal,
    }
    /// Money that comes in or goes out.
    MoneyInput {
        /// The account.
        account_id: ID,
        /// In the account's currency.
        amount: Decimal,
        /// What it is for.
        reference: Option<String>,
        /// When it counts; not in the future. The time of recording if absent.
        effective_at: Option<DateTime>,
    }
    /// Money from one account to another.
    TransferInput {
        /// Pays.
        from: ID,
        /// Is paid.
        to: ID,
        /// In the currency of both.
        amount: Decimal,
        /// What it is for.
        reference: Option<String>,
        /// When it counts; not in the future. The time of recording if absent.
        effective_at: Option<DateTime>,
    }
    /// Money to set aside.
    PlaceHoldInput {
        /// The account.
        account_id: ID,
        /// In the account's currency.
        amount: Decimal,
        /// When it ends by itself.
        expires_at: Option<DateTime>,
        /// What it is for.
        reference: Option<String>,
    }
    /// Without an amount the whole hold is captured; the rest is released.
    CaptureHoldInput {
        /// The hold.
        hold_id: ID,
        /// The account that is paid.
        to: ID,
        /// At most what the hold holds.
        amount: Option<Decimal>,
    }
    /// A hold to end.
    ReleaseHoldInput {
        /// The hold.
        hold_id: ID,
    }
    /// How far below zero an account may go.
    OverdraftInput {
        /// The account.
        account_id: ID,
        /// Zero or more.
        limit: Decimal,
        /// Why.
        reason: Option<String>,
    }
    /// A movement to undo.
    ReverseInput {
        /// Id of the transfer, deposit or withdrawal.
        movement_id: ID,
        /// Why.
        reason: String,
        /// Even if it takes the account below its limit.
        #[graphql(default = false)]
        force: bool,
    }
    /// A loan to ask for.
    CreditApplicationInput {
        /// Where it will be paid out.
        account_id: ID,
        /// In the account's currency.
        amount: Decimal,
        /// In how many monthly instalments it will be paid back.
        term_months: i32,
        /// What it is for.
        purpose: String,
    }
    /// A decision on an application.
    CreditDecisionInput {
        /// The loan.
        loan_id: ID,
        /// Whether it is granted.
        approve: bool,
        /// Interest a year, as a fraction.
        annual_rate: Option<Decimal>,
        /// How days are counted.
        #[graphql(default_with = "DayCount::Act365")]
        day_count: DayCount,
        /// Why.
        reason: String,
    }
    /// A loan to pay out.
    LoanInput {
        /// The loan.
        loan_id: ID,
    }
    /// A payment on a loan.
    LoanRepaymentInput {
        /// The loan.
        loan_id: ID,
        /// The account that pays.
        from: ID,
        /// In the loan's currency.
        amount: Decimal,
        /// When it counts.
        effective_at: Option<DateTime>,
    }
    /// An account whose status changes.
    AccountStatusInput {
        /// The account.
        account_id: ID,
        /// Why.
        reason: String,
    }
    /// A portfolio to open.
    OpenPortfolioInput {
        /// Whose it will be; also the owner of the cash account.
        owner: String,
        /// What the owner calls it.
        name: String,
        /// Pays for purchases and receives proceeds.
        cash_account_id: ID,
    }
    /// An asset that comes in or goes out.
    AssetInput {
        /// The portfolio.
        portfolio_id: ID,
        /// Not a currency of ISO 4217.
        asset: String,
        /// How much.
        quantity: Decimal,
        /// Cost basis of one unit; for deposits.
        unit_cost: Option<Decimal>,
        /// What it is for.
        reference: Option<String>,
    }
    /// What a portfolio may risk; what is absent is unlimited.
    RiskLimitsInput {
        /// The portfolio.
        portfolio_id: ID,
        /// Of one order.
        max_order_notional: Option<Decimal>,
        /// Of one position with its open buy orders.
        max_position_notional: Option<Decimal>,
        /// Of all positions with all open buy orders.
        max_exposure: Option<Decimal>,
        /// How many orders may be open.
        max_open_orders: Option<i32>,
    }
    /// An order to place.
    PlaceOrderInput {
        /// Holds what is sold and gets what is bought.
        portfolio_id: ID,
        /// For example BTC-USDT.
        symbol: String,
        /// Buy or sell.
        side: OrderSide,
        /// How the price is found.
        #[graphql(name = "type")]
        order_type: OrderType,
        /// A MARKET order is IOC whatever is said.
        #[graphql(default_with = "TimeInForce::Gtc")]
        time_in_force: TimeInForce,
        /// In the base asset. A MARKET order may give quoteQuantity instead.
        quantity: Option<Decimal>,
        /// In the quote asset.
        quote_quantity: Option<Decimal>,
        /// The worst price it may trade at.
        limit_price: Option<Decimal>,
        /// For stop and take-profit orders.
        stop_price: Option<Decimal>,
        /// For GTD.
        expires_at: Option<DateTime>,
        /// What happens when it meets one of the same owner.
        #[graphql(default_with = "SelfTradePrevention::ExpireTaker")]
        self_trade_prevention: SelfTradePrevention,
        /// The caller's own id for the order; unique among a portfolio's orders.
        client_order_id: Option<String>,
    }
    /// An order to take back.
    CancelOrderInput {
        /// The order.
        order_id: ID,
    }
    /// An order to change.
    AmendOrderInput {
        /// The order.
        order_id: ID,
        /// The new quantity.
        quantity: Option<Decimal>,
        /// The new limit price.
        limit_price: Option<Decimal>,
        /// The new stop price.
        stop_price: Option<Decimal>,
    }
    /// Two orders of which the first to trade cancels the other.
    PlaceOcoInput {
        /// One of them.
        first: PlaceOrderInput,
        /// The other.
        second: PlaceOrderInput,
    }
    /// A kill switch.
    TradingSwitchInput {
        /// What it stops.
        scope: TradingScope,
        /// Symbol, portfolio or account; none for the platform.
        id: Option<ID>,
        /// Why.
        reason: String,
    }
    /// A market to register.
    RegisterMarketInput {
        /// BASE-QUOTE.
        symbol: String,
        /// What is bought and sold.
        base: String,
        /// What it is paid in.
        quote: String,
        /// Where orders trade.
        venue: Venue,
        /// Prices are multiples of this.
        tick_size: Decimal,
        /// Quantities are multiples of this.
        lot_size: Decimal,
        /// The least quantity of an order.
        min_quantity: Decimal,
        /// The greatest quantity of an order.
        max_quantity: Decimal,
        /// The least notional of an order.
        min_notional: Decimal,
        /// In basis points.
        #[graphql(default_with = "Decimal(\"0\".to_owned())")]
        maker_fee_bps: Decimal,
        /// In basis points.
        #[graphql(default_with = "Decimal(\"0\".to_owned())")]
        taker_fee_bps: Decimal,
        /// How far a limit price may lie from the reference price, as a fraction; null: no band.
        price_band: Option<Decimal>,
    }
    /// A market whose status changes.
    MarketStatusInput {
        /// For example BTC-USDT.
        symbol: String,
        /// Why.
        reason: String,
    }
}
