//! The rules of a portfolio: what follows from each command.
//!
//! Cost is kept by average: what leaves a position takes its share of the cost along, rounded half-even, and the last of it
//! takes what is left, so the parts always sum to the whole.

use crate::amount::{Money, Quantity};
use crate::asset::Asset;
use crate::decimal::Decimal;
use crate::ids::{OrderId, Party};
use crate::portfolio::state::{OpenOrder, Opened, Portfolio, Position};
use crate::portfolio::{PortfolioCommand, PortfolioEvent};
use crate::price::Price;
use crate::refusal::{Code, Refusal};
use crate::rounding::Rounding;
use crate::text;

/// How many orders of one portfolio may be open, whatever its own limit says.
pub const MAX_OPEN_ORDERS: usize = 10_000;

type Decision = Result<Vec<PortfolioEvent>, Refusal>;

pub(super) fn decide(portfolio: &Portfolio, command: &PortfolioCommand) -> Decision {
    use PortfolioCommand as C;
    if let C::Open { .. } = command {
        return open(portfolio, command);
    }
    let portfolio = portfolio.opened()?;
    match command {
        C::Open { .. } => Ok(Vec::new()),
        C::SetRiskLimits { .. } => set_risk_limits(portfolio, command),
        C::DepositAsset { asset, quantity, unit_cost, reference } => {
            deposit_asset(portfolio, *asset, *quantity, *unit_cost, reference)
        }
        C::WithdrawAsset { asset, quantity, reference } => {
            withdraw_asset(portfolio, *asset, *quantity, reference)
        }
        C::CommitBuy { order_id, asset, notional } => commit_buy(portfolio, order_id, *asset, *notional),
        C::Reserve { order_id, quantity } => reserve(portfolio, order_id, *quantity),
        C::Increase { .. } => increase(portfolio, command),
        C::Reduce { .. } => reduce(portfolio, command),
        C::ReleaseOrder { order_id } => Ok(release_order(portfolio, order_id)),
    }
}

fn open(portfolio: &Portfolio, command: &PortfolioCommand) -> Decision {
    let PortfolioCommand::Open { portfolio_id, owner, name, cash_account_id, currency } = command else {
        return Ok(Vec::new());
    };
    if portfolio.opened().is_ok() {
        return Err(Refusal::new(Code::AlreadyExists, "the portfolio is open already"));
    }
    if !currency.is_cash() {
        return Err(Refusal::new(Code::UnknownAsset, format!("{currency} is not a currency")));
    }
    Ok(vec![PortfolioEvent::PortfolioOpened {
        portfolio_id: portfolio_id.clone(),
        owner: text::clean_name(owner.clone(), text::MAX_NAME).map_err(|r| r.at("owner"))?,
        name: text::clean_name(name.clone(), text::MAX_NAME).map_err(|r| r.at("name"))?,
        cash_account_id: cash_account_id.clone(),
        currency: *currency,
    }])
}

fn set_risk_limits(portfolio: &Opened, command: &PortfolioCommand) -> Decision {
    let PortfolioCommand::SetRiskLimits {
        max_order_notional,
        max_position_notional,
        max_exposure,
        max_open_orders,
    } = command
    else {
        return Ok(Vec::new());
    };
    let limit = |number: &Option<Decimal>, field: &str| {
        number
            .map(|number| {
                let limit = Money::from_decimal(portfolio.currency, number)?;
                not_negative(limit, "a limit")?;
                Ok(limit)
            })
            .transpose()
            .map_err(|r: Refusal| r.at(field))
    };
    Ok(vec![PortfolioEvent::RiskLimitsSet {
        max_order_notional: limit(max_order_notional, "maxOrderNotional")?,
        max_position_notional: limit(max_position_notional, "maxPositionNotional")?,
        max_exposure: limit(max_exposure, "maxExposure")?,
        max_open_orders: *max_open_orders,
    }])
}

// ---- assets that come from the world and go there

fn deposit_asset(
    portfolio: &Opened,
    asset: Asset,
    quantity: Decimal,
    unit_cost: Option<Decimal>,
    reference: &Option<String>,
) -> Decision {
    not_cash(portfolio, asset)?;
    let quantity = Quantity::positive(asset, quantity).map_err(|r| r.at("quantity"))?;
    let cost = cost_of(portfolio, quantity, unit_cost).map_err(|r| r.at("unitCost"))?;
    let position = portfolio.position_or_none_held(asset);
    position.quantity.plus(quantity)?;
    position.cost.plus(cost)?;
    Ok(vec![PortfolioEvent::AssetDeposited {
        movement_id: portfolio.next_movement(),
        from: Party::WORLD,
        quantity,
        cost,
        reference: clean_reference(reference)?,
    }])
}

fn withdraw_asset(
    portfolio: &Opened,
    asset: Asset,
    quantity: Decimal,
    reference: &Option<String>,
) -> Decision {
    not_cash(portfolio, asset)?;
    let quantity = Quantity::positive(asset, quantity).map_err(|r| r.at("quantity"))?;
    enough_free(portfolio, quantity)?;
    let position = portfolio.position_or_none_held(asset);
    Ok(vec![PortfolioEvent::AssetWithdrawn {
        movement_id: portfolio.next_movement(),
        to: Party::WORLD,
        quantity,
        cost_removed: average_cost(&position, quantity)?,
        reference: clean_reference(reference)?,
    }])
}

// ---- what orders set aside

fn commit_buy(portfolio: &Opened, order_id: &OrderId, asset: Asset, notional: Money) -> Decision {
    room_for_order(portfolio, order_id)?;
    same_currency(portfolio, notional)?;
    above_zero(notional.is_positive())?;
    portfolio.committed_total().plus(notional)?;
    Ok(vec![PortfolioEvent::BuyCommitted { order_id: order_id.clone(), asset, notional }])
}

fn reserve(portfolio: &Opened, order_id: &OrderId, quantity: Quantity) -> Decision {
    room_for_order(portfolio, order_id)?;
    above_zero(quantity.is_positive())?;
    enough_free(portfolio, quantity)?;
    Ok(vec![PortfolioEvent::QuantityReserved { order_id: order_id.clone(), quantity }])
}

fn release_order(portfolio: &Opened, order_id: &OrderId) -> Vec<PortfolioEvent> {
    let order_id = order_id.clone();
    match portfolio.open_orders.get(&order_id) {
        None => Vec::new(),
        Some(OpenOrder::Buy { committed, .. }) => {
            vec![PortfolioEvent::CommitmentReleased { order_id, notional: *committed }]
        }
        Some(OpenOrder::Sell { reserved }) => {
            vec![PortfolioEvent::ReservationReleased { order_id, quantity: *reserved }]
        }
    }
}

// ---- fills

fn increase(portfolio: &Opened, command: &PortfolioCommand) -> Decision {
    let PortfolioCommand::Increase { trade_id, order_id, from, quantity, cost, committed } = command else {
        return Ok(Vec::new());
    };
    let Some(OpenOrder::Buy { asset, committed: committed_before }) = portfolio.open_orders.get(order_id)
    else {
        return Err(not_open());
    };
    same_currency(portfolio, *cost)?;
    same_currency(portfolio, *committed)?;
    above_zero(quantity.is_positive())?;
    not_negative(*cost, "the cost")?;
    if quantity.asset() != *asset || committed.is_negative() || committed_before.is_less_than(*committed)? {
        return Err(Refusal::new(
            Code::FillOutOfBounds,
            "the fill does not fit what the buy order committed",
        ));
    }
    let position = portfolio.position_or_none_held(*asset);
    position.quantity.plus(*quantity)?;
    position.cost.plus(*cost)?;
    Ok(vec![PortfolioEvent::PositionIncreased {
        trade_id: trade_id.clone(),
        order_id: order_id.clone(),
        from: from.clone(),
        quantity: *quantity,
        cost: *cost,
        committed: *committed,
    }])
}

fn reduce(portfolio: &Opened, command: &PortfolioCommand) -> Decision {
    let PortfolioCommand::Reduce { trade_id, order_id, to, quantity, proceeds } = command else {
        return Ok(Vec::new());
    };
    let Some(OpenOrder::Sell { reserved }) = portfolio.open_orders.get(order_id) else {
        return Err(not_open());
    };
    same_currency(portfolio, *proceeds)?;
    above_zero(quantity.is_positive())?;
    not_negative(*proceeds, "the proceeds")?;
    if quantity.asset() != reserved.asset() || reserved.is_less_than(*quantity)? {
        return Err(Refusal::new(
            Code::FillOutOfBounds,
            "the fill is larger than what the sell order reserved",
        ));
    }
    let position = portfolio.position_or_none_held(quantity.asset());
    let cost_removed = average_cost(&position, *quantity)?;
    let realized_pnl = proceeds.minus(cost_removed)?;
    position.realized_pnl.plus(realized_pnl)?;
    Ok(vec![PortfolioEvent::PositionReduced {
        trade_id: trade_id.clone(),
        order_id: order_id.clone(),
        to: to.clone(),
        quantity: *quantity,
        proceeds: *proceeds,
        cost_removed,
        realized_pnl,
        reserved: reserved.minus(*quantity)?,
    }])
}

// ---- what the rules are made of

/// `cost × quantity / held`, half-even; all of the cost when all is taken.
fn average_cost(position: &Position, quantity: Quantity) -> Result<Money, Refusal> {
    position.cost.share(quantity, position.quantity, Rounding::HalfEven)
}

/// What the quantity has cost at `unit_cost` each, half-even; nothing without one.
fn cost_of(portfolio: &Opened, quantity: Quantity, unit_cost: Option<Decimal>) -> Result<Money, Refusal> {
    match unit_cost {
        None | Some(Decimal::ZERO) => Ok(Money::zero(portfolio.currency)),
        Some(unit_cost) => {
            Price::from_decimal(unit_cost)?.notional(quantity, portfolio.currency, Rounding::HalfEven)
        }
    }
}

fn enough_free(portfolio: &Opened, quantity: Quantity) -> Result<(), Refusal> {
    let free = portfolio.free(quantity.asset());
    if free.is_less_than(quantity)? {
        return Err(Refusal::new(
            Code::InsufficientPosition,
            format!("{free} is free, which is less than {quantity}"),
        )
        .at("quantity"));
    }
    Ok(())
}

fn room_for_order(portfolio: &Opened, order_id: &OrderId) -> Result<(), Refusal> {
    if portfolio.open_orders.contains_key(order_id) {
        return Err(Refusal::new(Code::AlreadyExists, "the order has set something aside already"));
    }
    if portfolio.open_order_count() >= MAX_OPEN_ORDERS {
        return Err(Refusal::new(
            Code::MaxOpenOrders,
            format!("a portfolio may have {MAX_OPEN_ORDERS} open orders; cancel some first"),
        ));
    }
    Ok(())
}

fn not_open() -> Refusal {
    Refusal::new(Code::OrderNotOpen, "the order has nothing set aside in this portfolio")
}

/// The portfolio's own currency is cash here, too, when it is a digital one.
fn not_cash(portfolio: &Opened, asset: Asset) -> Result<(), Refusal> {
    if asset.is_fiat() || asset == portfolio.currency {
        return Err(Refusal::new(
            Code::AssetIsCash,
            format!("{asset} is cash; use deposit or withdraw on the account"),
        )
        .at("asset"));
    }
    Ok(())
}

fn same_currency(portfolio: &Opened, amount: Money) -> Result<(), Refusal> {
    if amount.asset() == portfolio.currency {
        return Ok(());
    }
    Err(Refusal::new(
        Code::CurrencyMismatch,
        format!("the portfolio is kept in {}, not in {}", portfolio.currency, amount.asset()),
    ))
}

fn above_zero(is_positive: bool) -> Result<(), Refusal> {
    if is_positive {
        return Ok(());
    }
    Err(Refusal::new(Code::AmountNotPositive, "the amount must be above zero"))
}

fn not_negative(amount: Money, what: &str) -> Result<(), Refusal> {
    if amount.is_negative() {
        return Err(Refusal::new(Code::AmountNotPositive, format!("{what} may not be below zero")));
    }
    Ok(())
}

fn clean_reference(reference: &Option<String>) -> Result<Option<String>, Refusal> {
    let clean = |text: &String| text::clean(text.clone(), text::MAX_REFERENCE).map_err(|r| r.at("reference"));
    reference.as_ref().map(clean).transpose()
}
