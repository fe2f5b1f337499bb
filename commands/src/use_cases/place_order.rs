//! Place an order: filters, the two risk stages, hold or reservation, and the venue, in one commit.
//!
//! What is malformed or breaks a filter is refused. What a risk stage turns down is rejected: the order's stream says why,
//! and nothing else changes. On an internal market the order trades at once; on a paper market its venue answers later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::account::{Account, AccountCommand, AccountEvent, AccountStatus};
use domain::ids::{OrderId, Party};
use domain::market::{Market, MarketCommand, MarketEvent, Venue};
use domain::order::{Liquidity, Order, OrderCommand, OrderSide, OrderTicket, Requirements, RiskStage};
use domain::portfolio::{Portfolio, PortfolioCommand};
use domain::quote::Quote;
use domain::risk::{MarketPrices, Verdict, instrument_stage, portfolio_stage};
use domain::text::{MAX_NAME, clean_name};
use domain::{AnyEvent, Code, Money, Price, Quantity, Refusal};
use uuid::Uuid;

use crate::request::{Answer, PlaceOrder};
use crate::unit::{Halt, Unit};
use crate::use_cases::execution::{self, Fill, defect};
use crate::use_cases::{Blame, authorise_portfolio};

pub(super) fn run(command: &PlaceOrder, unit: &mut Unit<'_>) -> Result<Answer, Halt> {
    authorise_portfolio(unit, &command.portfolio_id).at("portfolioId")?;
    let market = unit.read::<Market>(command.symbol.as_str())?;
    let market = market.registered().map_err(Halt::from).at("symbol")?;
    let ticket = ticket(command, unit, market)?;
    market.check_filters(&ticket)?;
    unit.want::<Account>([ticket.account_id.as_str()])?;
    let quote = match ticket.venue {
        Venue::Paper => unit.read::<Quote>(command.symbol.as_str())?,
        Venue::Internal => Arc::default(),
    };

    let order_id = new_order_id(command, unit)?;
    unit.execute::<Order>(
        order_id.as_str(),
        &OrderCommand::Place { order_id: order_id.clone(), ticket: ticket.clone() },
    )?;

    let prices = MarketPrices::of(market, &quote, &ticket);
    let verdict = instrument_stage(market, &prices, &ticket)?;
    if let Some(rejected) = judge(unit, &order_id, RiskStage::Instrument, verdict)? {
        return Ok(rejected);
    }
    let bound = prices.bound(market, &ticket)?;
    let instrument = &market.instrument;
    let required = ticket.requirements(bound, instrument.maker_fee, instrument.taker_fee)?;
    let known_prices: BTreeMap<_, _> =
        prices.reference.map(|price| (ticket.base, price)).into_iter().collect();
    let verdict = portfolio_stage(
        &*unit.read::<Portfolio>(command.portfolio_id.as_str())?,
        &*unit.read::<Account>(ticket.account_id.as_str())?,
        &known_prices,
        &ticket,
        &required,
    )?;
    if let Some(rejected) = judge(unit, &order_id, RiskStage::Portfolio, verdict)? {
        return Ok(rejected);
    }

    accept(unit, &order_id, &ticket, &required, bound, market)?;
    if ticket.venue == Venue::Internal {
        trade(unit, &order_id, &ticket)?;
    }
    Ok(Answer { order_id: Some(order_id), portfolio_id: Some(ticket.portfolio_id), ..Answer::default() })
}

/// What was asked for, with the assets' scales.
fn ticket(
    command: &PlaceOrder,
    unit: &Unit<'_>,
    market: &domain::market::Registered,
) -> Result<OrderTicket, Halt> {
    let portfolio = unit.read::<Portfolio>(command.portfolio_id.as_str())?;
    let portfolio = portfolio.opened()?;
    let instrument = &market.instrument;
    if instrument.quote != portfolio.currency {
        let message = format!(
            "{} is paid in {}, the portfolio's cash account is in {}",
            instrument.symbol, instrument.quote, portfolio.currency
        );
        return Err(Refusal::new(Code::QuoteAssetMismatch, message).at("symbol").into());
    }
    let quantity = command.quantity.map(|number| Quantity::positive(instrument.base, number)).transpose();
    let quote_quantity =
        command.quote_quantity.map(|number| Money::positive(instrument.quote, number)).transpose();
    let limit_price = command.limit_price.map(Price::from_decimal).transpose();
    let client_order_id = command.client_order_id.clone().map(|id| clean_name(id, MAX_NAME)).transpose();
    Ok(OrderTicket {
        owner: portfolio.owner.clone(),
        portfolio_id: command.portfolio_id.clone(),
        account_id: portfolio.cash_account_id.clone(),
        symbol: instrument.symbol.clone(),
        venue: instrument.venue,
        base: instrument.base,
        quote: instrument.quote,
        lot_size: instrument.lot_size,
        side: command.side,
        order_type: command.order_type,
        time_in_force: command.order_type.time_in_force(command.time_in_force),
        quantity: quantity.map_err(|refusal| refusal.at("quantity"))?,
        quote_quantity: quote_quantity.map_err(|refusal| refusal.at("quoteQuantity"))?,
        limit_price: limit_price.map_err(|refusal| refusal.at("limitPrice"))?,
        self_trade_prevention: command.self_trade_prevention,
        client_order_id: client_order_id.map_err(|refusal| refusal.at("clientOrderId"))?,
    })
}

/// With a client order id the order's id follows from it and the portfolio, so a second order with it meets the first.
fn new_order_id(command: &PlaceOrder, unit: &mut Unit<'_>) -> Result<OrderId, Halt> {
    let Some(client_order_id) = &command.client_order_id else {
        let id = unit.new_id();
        unit.create::<Order>(&id);
        return Ok(OrderId::new(id));
    };
    let name = format!("order/{}/{client_order_id}", command.portfolio_id);
    let order_id = OrderId::new(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).to_string());
    if unit.read::<Order>(order_id.as_str())?.placed().is_ok() {
        let message = "another order of this portfolio has this client order id";
        return Err(Refusal::new(Code::DuplicateClientOrderId, message).at("clientOrderId").into());
    }
    Ok(order_id)
}

/// Writes the stage's verdict down. Gives the answer if the order was rejected.
fn judge(
    unit: &mut Unit<'_>,
    order_id: &OrderId,
    stage: RiskStage,
    verdict: Verdict,
) -> Result<Option<Answer>, Halt> {
    match verdict {
        Verdict::Pass { figures } => {
            unit.execute::<Order>(order_id.as_str(), &OrderCommand::PassRiskStage { stage, figures })?;
            Ok(None)
        }
        Verdict::Reject { code, message, figures } => {
            let rejection = Some(Box::new(Refusal::new(code, message.clone())));
            let reject = OrderCommand::Reject { stage, code, message, figures };
            unit.execute::<Order>(order_id.as_str(), &reject)?;
            Ok(Some(Answer { order_id: Some(order_id.clone()), rejection, ..Answer::default() }))
        }
    }
}

/// Sets aside what the order needs and sends it on its way.
fn accept(
    unit: &mut Unit<'_>,
    order_id: &OrderId,
    ticket: &OrderTicket,
    required: &Requirements,
    price_bound: Option<Price>,
    market: &domain::market::Registered,
) -> Result<(), Halt> {
    let mut hold_id = None;
    if let Some(amount) = required.cash {
        let hold = AccountCommand::HoldForOrder { order_id: order_id.clone(), amount };
        let decided = unit.execute::<Account>(ticket.account_id.as_str(), &hold)?;
        hold_id = decided.iter().find_map(|decided| match &decided.event {
            AnyEvent::Account(AccountEvent::HoldPlaced { hold_id, .. }) => Some(hold_id.clone()),
            _ => None,
        });
    }
    let set_aside = match (ticket.side, required.quantity) {
        (OrderSide::Sell, Some(quantity)) => {
            PortfolioCommand::Reserve { order_id: order_id.clone(), quantity }
        }
        _ => PortfolioCommand::CommitBuy {
            order_id: order_id.clone(),
            asset: ticket.base,
            notional: required.notional,
        },
    };
    unit.execute::<Portfolio>(ticket.portfolio_id.as_str(), &set_aside)?;
    unit.execute::<Order>(
        order_id.as_str(),
        &OrderCommand::Accept {
            hold_id,
            held: required.cash,
            reserved: required.quantity,
            price_bound,
            maker_fee: market.instrument.maker_fee,
            taker_fee: market.instrument.taker_fee,
        },
    )?;
    Ok(())
}

/// Matches the order in the internal book and settles both sides of every trade.
fn trade(unit: &mut Unit<'_>, order_id: &OrderId, ticket: &OrderTicket) -> Result<(), Halt> {
    let incoming = unit.read::<Order>(order_id.as_str())?.placed()?.incoming()?;
    let market = unit.read::<Market>(ticket.symbol.as_str())?;
    let market = market.registered()?;

    // Whom the order meets depends on who is barred, and who is barred is known once their accounts are loaded.
    let mut barred = BTreeSet::new();
    let matching = loop {
        let matching = market.match_incoming(&incoming, &barred)?;
        unit.want::<Account>(matching.met.iter().map(|(_, account, _)| account.as_str()))?;
        let before = barred.len();
        for (maker, account, _) in &matching.met {
            if unit.read::<Account>(account.as_str())?.opened()?.status != AccountStatus::Open {
                barred.insert(maker.clone());
            }
        }
        if barred.len() == before {
            break matching;
        }
    };
    unit.want::<Order>(matching.met.iter().map(|(order, _, _)| order.as_str()))?;
    unit.want::<Portfolio>(matching.met.iter().map(|(_, _, portfolio)| portfolio.as_str()))?;

    let parties: BTreeMap<_, _> = matching
        .met
        .iter()
        .map(|(order, account, portfolio)| (order.clone(), (Party::from(account), Party::from(portfolio))))
        .collect();
    let taker = (Party::from(&ticket.account_id), Party::from(&ticket.portfolio_id));
    let command = MarketCommand::Match { order: incoming, barred };
    // Copies: settling them adds events.
    for decided in unit.execute::<Market>(ticket.symbol.as_str(), &command)?.to_vec() {
        match decided.event {
            AnyEvent::Market(MarketEvent::TradeExecuted {
                trade_id,
                maker_order_id,
                price,
                quantity,
                ..
            }) => {
                let maker =
                    parties.get(&maker_order_id).ok_or_else(|| defect("a trade with an unknown maker"))?;
                let sides =
                    [(&maker_order_id, Liquidity::Maker, &taker), (order_id, Liquidity::Taker, maker)];
                for (order, liquidity, (cash, asset)) in sides {
                    let fill = Fill {
                        trade_id: trade_id.clone(),
                        price,
                        quantity,
                        liquidity,
                        evidence: None,
                        cash_counterparty: cash.clone(),
                        asset_counterparty: asset.clone(),
                    };
                    execution::settle(unit, order, fill)?;
                }
            }
            AnyEvent::Market(MarketEvent::OrderUnbooked { order_id, code }) => {
                execution::end(unit, &order_id, &OrderCommand::Expire { code })?;
            }
            _ => {}
        }
    }
    match matching.ends {
        Some(code) => execution::end(unit, order_id, &OrderCommand::Expire { code }),
        None => Ok(()),
    }
}
