//! From an input of the schema to a command: what is malformed is refused here, with the path of the field at fault.

use async_graphql::ID;
use commands::Command;
use commands::request as command;
use domain::ids::Symbol;
use domain::text::{self, MAX_NAME, MAX_REFERENCE};
use domain::{Asset, Code, Refusal, Timestamp};

use super::inputs::{
    AccountStatusInput, AssetInput, CancelOrderInput, CaptureHoldInput, MarketStatusInput, MoneyInput,
    OpenAccountInput, OpenPortfolioInput, OverdraftInput, PlaceHoldInput, PlaceOrderInput,
    RegisterMarketInput, ReleaseHoldInput, RiskLimitsInput, TransferInput,
};
use super::scalars::{DateTime, Decimal};

type Parsed = Result<Command, Refusal>;

/// Characters an idempotency key may have.
const MAX_KEY: usize = 128;

/// Checks the idempotency key.
///
/// # Errors
/// [`Code::InvalidIdempotencyKey`].
pub fn idempotency_key(key: &str) -> Result<(), Refusal> {
    if (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Ok(());
    }
    Err(Refusal::new(Code::InvalidIdempotencyKey, "the key must be 1 to 128 printable ASCII characters")
        .at("idempotencyKey"))
}

fn id<T: std::str::FromStr<Err = Refusal>>(id: &ID, field: &str) -> Result<T, Refusal> {
    id.parse().map_err(|refusal: Refusal| refusal.at(field))
}

fn asset(text: &str, field: &str) -> Result<Asset, Refusal> {
    text.parse().map_err(|refusal: Refusal| refusal.at(field))
}

fn number(number: &Decimal, field: &str) -> Result<domain::Decimal, Refusal> {
    number.parse().map_err(|refusal| refusal.at(field))
}

fn maybe_number(value: &Option<Decimal>, field: &str) -> Result<Option<domain::Decimal>, Refusal> {
    value.as_ref().map(|value| number(value, field)).transpose()
}

fn name(value: String, field: &str) -> Result<String, Refusal> {
    text::clean_name(value, MAX_NAME).map_err(|refusal| refusal.at(field))
}

fn reason(value: String) -> Result<String, Refusal> {
    text::clean_name(value, MAX_REFERENCE).map_err(|refusal| refusal.at("reason"))
}

fn reference(value: Option<String>) -> Result<Option<String>, Refusal> {
    value
        .map(|value| text::clean(value, MAX_REFERENCE).map_err(|refusal| refusal.at("reference")))
        .transpose()
}

fn moment(value: Option<DateTime>) -> Option<Timestamp> {
    value.map(|value| value.0)
}

fn not_supported(what: &str, field: &str) -> Refusal {
    Refusal::new(Code::NotSupported, format!("{what} does not work yet")).at(field)
}

/// See [`Command::OpenAccount`].
pub fn open_account(input: OpenAccountInput) -> Parsed {
    Ok(Command::OpenAccount(command::OpenAccount {
        owner: name(input.owner, "owner")?,
        currency: asset(&input.currency, "currency")?,
        kind: input.kind.into(),
        overdraft_limit: number(&input.overdraft_limit, "overdraftLimit")?,
    }))
}

fn money(input: MoneyInput) -> Result<command::MoneyMovement, Refusal> {
    Ok(command::MoneyMovement {
        account_id: id(&input.account_id, "accountId")?,
        amount: number(&input.amount, "amount")?,
        reference: reference(input.reference)?,
        effective_at: moment(input.effective_at),
    })
}

/// See [`Command::Deposit`].
pub fn deposit(input: MoneyInput) -> Parsed {
    Ok(Command::Deposit(money(input)?))
}

/// See [`Command::Withdraw`].
pub fn withdraw(input: MoneyInput) -> Parsed {
    Ok(Command::Withdraw(money(input)?))
}

/// See [`Command::Transfer`].
pub fn transfer(input: TransferInput) -> Parsed {
    Ok(Command::Transfer(command::Transfer {
        from: id(&input.from, "from")?,
        to: id(&input.to, "to")?,
        amount: number(&input.amount, "amount")?,
        reference: reference(input.reference)?,
        effective_at: moment(input.effective_at),
    }))
}

/// See [`Command::PlaceHold`].
pub fn place_hold(input: PlaceHoldInput) -> Parsed {
    Ok(Command::PlaceHold(command::PlaceHold {
        account_id: id(&input.account_id, "accountId")?,
        amount: number(&input.amount, "amount")?,
        expires_at: moment(input.expires_at),
        reference: reference(input.reference)?,
    }))
}

/// See [`Command::CaptureHold`].
pub fn capture_hold(input: CaptureHoldInput) -> Parsed {
    Ok(Command::CaptureHold(command::CaptureHold {
        hold_id: id(&input.hold_id, "holdId")?,
        to: id(&input.to, "to")?,
        amount: maybe_number(&input.amount, "amount")?,
    }))
}

/// See [`Command::ReleaseHold`].
pub fn release_hold(input: ReleaseHoldInput) -> Parsed {
    Ok(Command::ReleaseHold(command::ReleaseHold { hold_id: id(&input.hold_id, "holdId")? }))
}

fn account_status(input: AccountStatusInput) -> Result<command::AccountStatusChange, Refusal> {
    Ok(command::AccountStatusChange {
        account_id: id(&input.account_id, "accountId")?,
        reason: reason(input.reason)?,
    })
}

/// See [`Command::FreezeAccount`].
pub fn freeze_account(input: AccountStatusInput) -> Parsed {
    Ok(Command::FreezeAccount(account_status(input)?))
}

/// See [`Command::UnfreezeAccount`].
pub fn unfreeze_account(input: AccountStatusInput) -> Parsed {
    Ok(Command::UnfreezeAccount(account_status(input)?))
}

/// See [`Command::CloseAccount`].
pub fn close_account(input: AccountStatusInput) -> Parsed {
    Ok(Command::CloseAccount(account_status(input)?))
}

/// See [`Command::SetOverdraftLimit`].
pub fn set_overdraft_limit(input: OverdraftInput) -> Parsed {
    Ok(Command::SetOverdraftLimit(command::SetOverdraftLimit {
        account_id: id(&input.account_id, "accountId")?,
        limit: number(&input.limit, "limit")?,
        reason: input.reason.map(reason).transpose()?,
    }))
}

/// See [`Command::OpenPortfolio`].
pub fn open_portfolio(input: OpenPortfolioInput) -> Parsed {
    Ok(Command::OpenPortfolio(command::OpenPortfolio {
        owner: name(input.owner, "owner")?,
        name: name(input.name, "name")?,
        cash_account_id: id(&input.cash_account_id, "cashAccountId")?,
    }))
}

fn asset_movement(input: AssetInput) -> Result<command::AssetMovement, Refusal> {
    Ok(command::AssetMovement {
        portfolio_id: id(&input.portfolio_id, "portfolioId")?,
        asset: asset(&input.asset, "asset")?,
        quantity: number(&input.quantity, "quantity")?,
        unit_cost: maybe_number(&input.unit_cost, "unitCost")?,
        reference: reference(input.reference)?,
    })
}

/// See [`Command::DepositAsset`].
pub fn deposit_asset(input: AssetInput) -> Parsed {
    Ok(Command::DepositAsset(asset_movement(input)?))
}

/// See [`Command::WithdrawAsset`].
pub fn withdraw_asset(input: AssetInput) -> Parsed {
    Ok(Command::WithdrawAsset(asset_movement(input)?))
}

/// See [`Command::SetRiskLimits`].
pub fn set_risk_limits(input: RiskLimitsInput) -> Parsed {
    let max_open_orders = input
        .max_open_orders
        .map(|count| {
            u32::try_from(count).map_err(|_| {
                Refusal::new(Code::MalformedInput, "the number of open orders may not be negative")
                    .at("maxOpenOrders")
            })
        })
        .transpose()?;
    Ok(Command::SetRiskLimits(command::SetRiskLimits {
        portfolio_id: id(&input.portfolio_id, "portfolioId")?,
        max_order_notional: maybe_number(&input.max_order_notional, "maxOrderNotional")?,
        max_position_notional: maybe_number(&input.max_position_notional, "maxPositionNotional")?,
        max_exposure: maybe_number(&input.max_exposure, "maxExposure")?,
        max_open_orders,
    }))
}

fn symbol(text: &str) -> Result<Symbol, Refusal> {
    text.parse().map_err(|refusal: Refusal| refusal.at("symbol"))
}

/// See [`Command::PlaceOrder`].
pub fn place_order(input: PlaceOrderInput) -> Parsed {
    let order_type = input.order_type.supported()?;
    let time_in_force = input.time_in_force.supported()?;
    let self_trade_prevention = input.self_trade_prevention.supported()?;
    if input.stop_price.is_some() {
        return Err(not_supported("a stop price", "stopPrice"));
    }
    if input.expires_at.is_some() {
        return Err(not_supported("an order's time of expiry", "expiresAt"));
    }
    Ok(Command::PlaceOrder(command::PlaceOrder {
        portfolio_id: id(&input.portfolio_id, "portfolioId")?,
        symbol: symbol(&input.symbol)?,
        side: input.side.into(),
        order_type,
        time_in_force,
        quantity: maybe_number(&input.quantity, "quantity")?,
        quote_quantity: maybe_number(&input.quote_quantity, "quoteQuantity")?,
        limit_price: maybe_number(&input.limit_price, "limitPrice")?,
        self_trade_prevention,
        client_order_id: input.client_order_id.map(|value| name(value, "clientOrderId")).transpose()?,
    }))
}

/// See [`Command::CancelOrder`].
pub fn cancel_order(input: CancelOrderInput) -> Parsed {
    Ok(Command::CancelOrder(command::CancelOrder { order_id: id(&input.order_id, "orderId")? }))
}

/// See [`Command::RegisterMarket`].
pub fn register_market(input: RegisterMarketInput) -> Parsed {
    Ok(Command::RegisterMarket(command::RegisterMarket {
        symbol: input.symbol.parse().map_err(|_| {
            Refusal::new(Code::InvalidSymbol, "a symbol is BASE-QUOTE, for example BTC-USDT").at("symbol")
        })?,
        base: asset(&input.base, "base")?,
        quote: asset(&input.quote, "quote")?,
        venue: input.venue.into(),
        tick_size: number(&input.tick_size, "tickSize")?,
        lot_size: number(&input.lot_size, "lotSize")?,
        min_quantity: number(&input.min_quantity, "minQuantity")?,
        max_quantity: number(&input.max_quantity, "maxQuantity")?,
        min_notional: number(&input.min_notional, "minNotional")?,
        maker_fee_bps: number(&input.maker_fee_bps, "makerFeeBps")?,
        taker_fee_bps: number(&input.taker_fee_bps, "takerFeeBps")?,
        price_band: maybe_number(&input.price_band, "priceBand")?,
    }))
}

fn market_status(input: MarketStatusInput) -> Result<command::MarketStatusChange, Refusal> {
    Ok(command::MarketStatusChange { symbol: symbol(&input.symbol)?, reason: reason(input.reason)? })
}

/// See [`Command::HaltMarket`].
pub fn halt_market(input: MarketStatusInput) -> Parsed {
    Ok(Command::HaltMarket(market_status(input)?))
}

/// See [`Command::ResumeMarket`].
pub fn resume_market(input: MarketStatusInput) -> Parsed {
    Ok(Command::ResumeMarket(market_status(input)?))
}
