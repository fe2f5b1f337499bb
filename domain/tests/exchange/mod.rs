//! A small exchange in memory: accounts, portfolios, orders and one internal market, driven as the use cases drive them.
//!
//! Everything a request changes is changed together or not at all.

pub mod audit;

use std::collections::{BTreeMap, BTreeSet};

use domain::account::{Account, AccountCommand, AccountEvent, AccountKind, AccountStatus};
use domain::event::AnyEvent;
use domain::ids::{AccountId, OrderId, Party, PortfolioId, TradeId};
use domain::market::{Instrument, Market, MarketCommand, MarketEvent, Venue};
use domain::order::{
    Liquidity, Order, OrderCommand, OrderEvent, OrderSide, OrderTicket, OrderType, RiskStage,
    SelfTradePrevention, TimeInForce,
};
use domain::portfolio::{Portfolio, PortfolioCommand};
use domain::quote::Quote;
use domain::risk::{MarketPrices, Verdict, instrument_stage, portfolio_stage};
use domain::{Code, Decider, Decimal, Money, Price, Quantity, Refusal};

use crate::common::{Testable, decide_both_ways, noon, read};

/// One aggregate and all that has happened to it.
#[derive(Clone, Debug)]
pub struct Stream<A: Decider> {
    pub state: A,
    pub events: Vec<A::Event>,
}

impl<A: Decider> Default for Stream<A> {
    fn default() -> Self {
        Self { state: A::default(), events: Vec::new() }
    }
}

/// The streams of one type, by id.
pub type Streams<A> = BTreeMap<String, Stream<A>>;

/// Everything there is.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    pub accounts: Streams<Account>,
    pub portfolios: Streams<Portfolio>,
    pub orders: Streams<Order>,
    pub markets: Streams<Market>,
    /// Every event with the id of its stream, in order.
    pub log: Vec<(String, AnyEvent)>,
}

/// A type whose streams the exchange keeps.
pub trait Kept: Testable {
    fn streams(exchange: &mut Exchange) -> &mut Streams<Self>;
    fn any(event: &<Self as Decider>::Event) -> AnyEvent;
}

macro_rules! kept {
    ($($aggregate:ident => $field:ident),+) => {$(
        impl Kept for $aggregate {
            fn streams(exchange: &mut Exchange) -> &mut Streams<Self> {
                &mut exchange.$field
            }
            fn any(event: &<Self as Decider>::Event) -> AnyEvent {
                AnyEvent::$aggregate(event.clone())
            }
        }
    )+};
}
kept!(Account => accounts, Portfolio => portfolios, Order => orders, Market => markets);

/// What came of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Done,
    Rejected(Code),
    Refused(Code),
}

/// Who trades: a portfolio and its cash account, and whose they are. Ada has two of each.
pub const TRADERS: [(&str, &str, &str); 4] = [
    ("folio-ada", "cash-ada", "ada"),
    ("folio-ada2", "cash-ada2", "ada"),
    ("folio-bob", "cash-bob", "bob"),
    ("folio-eve", "cash-eve", "eve"),
];

/// What a trader asks for.
#[derive(Clone, Debug)]
pub struct Wish {
    pub trader: usize,
    pub side: OrderSide,
    pub order_type: OrderType,
    pub time_in_force: TimeInForce,
    pub quantity: Option<Decimal>,
    pub quote_quantity: Option<Decimal>,
    pub limit_price: Option<Decimal>,
    pub self_trade_prevention: SelfTradePrevention,
}

pub fn symbol() -> &'static str {
    "BTC-USDT"
}

/// Fees that never come to whole units, and a lot coarse enough that fees round often.
pub fn instrument() -> Instrument {
    Instrument {
        symbol: read(symbol()),
        base: read("BTC"),
        quote: read("USDT"),
        venue: Venue::Internal,
        tick_size: read("0.01"),
        lot_size: read("0.000001 BTC"),
        min_quantity: read("0.000001 BTC"),
        max_quantity: read("1000000 BTC"),
        min_notional: read("0 USDT"),
        maker_fee: read("0.00012345"),
        taker_fee: read("0.00198765"),
        price_band: Some(read("0.5")),
    }
}

impl Exchange {
    /// Four traders with cash and some BTC on a market that has just opened.
    pub fn open() -> Self {
        let mut exchange = Self::default();
        exchange.must::<Market>(symbol(), MarketCommand::Register { instrument: instrument() });
        for (portfolio, account, owner) in TRADERS {
            exchange.must::<Account>(
                account,
                AccountCommand::Open {
                    account_id: AccountId::new(account),
                    owner: owner.to_owned(),
                    currency: read("USDT"),
                    kind: AccountKind::Brokerage,
                    overdraft_limit: Decimal::ZERO,
                },
            );
            exchange.must::<Account>(
                account,
                AccountCommand::Deposit { amount: read("10000"), reference: None, effective_at: None },
            );
            exchange.must::<Portfolio>(
                portfolio,
                PortfolioCommand::Open {
                    portfolio_id: PortfolioId::new(portfolio),
                    owner: owner.to_owned(),
                    name: portfolio.to_owned(),
                    cash_account_id: AccountId::new(account),
                    currency: read("USDT"),
                },
            );
            exchange.must::<Portfolio>(
                portfolio,
                PortfolioCommand::DepositAsset {
                    asset: read("BTC"),
                    quantity: read("50"),
                    unit_cost: Some(read("99.99")),
                    reference: None,
                },
            );
        }
        exchange
    }

    fn must<A: Kept>(&mut self, id: &str, command: <A as Decider>::Command) {
        self.execute::<A>(id, command).unwrap_or_else(|refusal| panic!("{id}: {refusal}"));
    }

    /// Runs a request; a refusal leaves no trace.
    pub fn request(&mut self, script: impl FnOnce(&mut Self) -> Result<Outcome, Refusal>) -> Outcome {
        let before = self.clone();
        script(self).unwrap_or_else(|refusal| {
            *self = before;
            Outcome::Refused(refusal.code)
        })
    }

    pub fn execute<A: Kept>(
        &mut self,
        id: &str,
        command: <A as Decider>::Command,
    ) -> Result<Vec<<A as Decider>::Event>, Refusal> {
        let stream = A::streams(self).entry(id.to_owned()).or_default();
        let events = decide_both_ways(&stream.state, &command, noon())?;
        for event in &events {
            Decider::apply(&mut stream.state, event);
            stream.events.push(event.clone());
        }
        self.log.extend(events.iter().map(|event| (id.to_owned(), A::any(event))));
        Ok(events)
    }

    pub fn market(&self) -> &domain::market::Registered {
        self.markets[symbol()].state.registered().expect("registered")
    }

    pub fn order(&self, id: &OrderId) -> &domain::order::Placed {
        self.orders[id.as_str()].state.placed().expect("placed")
    }

    /// Places an order: filters, risk stages, what it needs set aside, and the book.
    pub fn place(&mut self, wish: &Wish) -> Result<Outcome, Refusal> {
        let market = self.market().clone();
        let ticket = ticket(wish, &market.instrument)?;
        market.check_filters(&ticket)?;
        let order_id = OrderId::new(format!("o{}", self.orders.len() + 1));
        let id = order_id.as_str();
        self.execute::<Order>(
            id,
            OrderCommand::Place { order_id: order_id.clone(), ticket: ticket.clone() },
        )?;
        let prices = MarketPrices::of(&market, &Quote::default(), &ticket);
        if let Some(rejected) =
            self.judge(id, RiskStage::Instrument, instrument_stage(&market, &prices, &ticket)?)?
        {
            return Ok(rejected);
        }
        let bound = prices.bound(&market, &ticket)?;
        let (maker_fee, taker_fee) = (market.instrument.maker_fee, market.instrument.taker_fee);
        let required = ticket.requirements(bound, maker_fee, taker_fee)?;
        let known: BTreeMap<_, _> = prices.reference.map(|price| (ticket.base, price)).into_iter().collect();
        let verdict = portfolio_stage(
            &self.portfolios[ticket.portfolio_id.as_str()].state,
            &self.accounts[ticket.account_id.as_str()].state,
            &known,
            &ticket,
            &required,
        )?;
        if let Some(rejected) = self.judge(id, RiskStage::Portfolio, verdict)? {
            return Ok(rejected);
        }
        let mut hold_id = None;
        if let Some(amount) = required.cash {
            let hold = AccountCommand::HoldForOrder { order_id: order_id.clone(), amount };
            let events = self.execute::<Account>(ticket.account_id.as_str(), hold)?;
            if let [AccountEvent::HoldPlaced { hold_id: placed, .. }] = events.as_slice() {
                hold_id = Some(placed.clone());
            }
        }
        let set_aside = match required.quantity {
            Some(quantity) => PortfolioCommand::Reserve { order_id: order_id.clone(), quantity },
            None => PortfolioCommand::CommitBuy {
                order_id: order_id.clone(),
                asset: ticket.base,
                notional: required.notional,
            },
        };
        self.execute::<Portfolio>(ticket.portfolio_id.as_str(), set_aside)?;
        let accept = OrderCommand::Accept {
            hold_id,
            held: required.cash,
            reserved: required.quantity,
            price_bound: bound,
            maker_fee,
            taker_fee,
        };
        self.execute::<Order>(id, accept)?;
        self.trade(&order_id, &ticket)?;
        Ok(Outcome::Done)
    }

    fn judge(&mut self, id: &str, stage: RiskStage, verdict: Verdict) -> Result<Option<Outcome>, Refusal> {
        match verdict {
            Verdict::Pass { figures } => {
                self.execute::<Order>(id, OrderCommand::PassRiskStage { stage, figures })?;
                Ok(None)
            }
            Verdict::Reject { code, message, figures } => {
                self.execute::<Order>(id, OrderCommand::Reject { stage, code, message, figures })?;
                Ok(Some(Outcome::Rejected(code)))
            }
        }
    }

    fn trade(&mut self, order_id: &OrderId, ticket: &OrderTicket) -> Result<(), Refusal> {
        let order = self.order(order_id).incoming()?;
        let market = self.market().clone();
        let mut barred = BTreeSet::new();
        loop {
            let before = barred.len();
            for (maker, account, _) in market.makers_for(&order, &barred)? {
                if self.accounts[account.as_str()].state.opened()?.status != AccountStatus::Open {
                    barred.insert(maker);
                }
            }
            if barred.len() == before {
                break;
            }
        }
        let matching = market.match_incoming(&order, &barred)?;
        let events = self.execute::<Market>(symbol(), MarketCommand::Match { order, barred })?;
        assert_eq!(events, matching.events, "the market decides what it said it would");
        for event in events {
            match event {
                MarketEvent::TradeExecuted { trade_id, maker_order_id, price, quantity, .. } => {
                    let maker = self.order(&maker_order_id).ticket.clone();
                    let trade = Trade { trade_id, price, quantity };
                    self.settle(&maker_order_id, &trade, Liquidity::Maker, ticket)?;
                    self.settle(order_id, &trade, Liquidity::Taker, &maker)?;
                }
                MarketEvent::OrderUnbooked { order_id, code } => {
                    self.end(&order_id, OrderCommand::Expire { code })?;
                }
                _ => {}
            }
        }
        match matching.ends {
            Some(code) => self.end(order_id, OrderCommand::Expire { code }),
            None => Ok(()),
        }
    }

    fn settle(
        &mut self,
        order_id: &OrderId,
        trade: &Trade,
        liquidity: Liquidity,
        other: &OrderTicket,
    ) -> Result<(), Refusal> {
        let Trade { trade_id, price, quantity } = trade.clone();
        let fill =
            OrderCommand::Fill { trade_id: trade_id.clone(), price, quantity, liquidity, evidence: None };
        let again = fill.clone();
        let events = self.execute::<Order>(order_id.as_str(), fill)?;
        let [OrderEvent::OrderFilled { notional, fee, .. }] = events[..] else {
            panic!("one fill, one event")
        };
        let repeated = self.execute::<Order>(order_id.as_str(), again).map_err(|refusal| refusal.code);
        assert_eq!(repeated, Err(Code::DuplicateFill), "a fill is applied once");

        let placed = self.order(order_id).clone();
        let ticket = &placed.ticket;
        let (account, portfolio) = (ticket.account_id.as_str(), ticket.portfolio_id.as_str());
        let (cash, asset) = (Party::from(&other.account_id), Party::from(&other.portfolio_id));
        let (order_id, trade_id) = (order_id.clone(), trade_id.clone());
        match ticket.side {
            OrderSide::Buy => {
                let hold_id = placed.accepted.as_ref().and_then(|accepted| accepted.hold_id.clone());
                self.execute::<Account>(
                    account,
                    AccountCommand::SettlePurchase {
                        trade_id: trade_id.clone(),
                        order_id: order_id.clone(),
                        hold_id: hold_id.expect("a buy has a hold"),
                        counterparty: cash,
                        notional,
                        fee,
                        hold_remaining: placed.cash_required()?,
                    },
                )?;
                let cost = notional.plus(fee)?;
                let committed = placed.committed_notional()?;
                self.execute::<Portfolio>(
                    portfolio,
                    PortfolioCommand::Increase {
                        trade_id,
                        order_id: order_id.clone(),
                        from: asset,
                        quantity,
                        cost,
                        committed,
                    },
                )?;
            }
            OrderSide::Sell => {
                self.execute::<Account>(
                    account,
                    AccountCommand::SettleSale {
                        trade_id: trade_id.clone(),
                        order_id: order_id.clone(),
                        counterparty: cash,
                        notional,
                        fee,
                    },
                )?;
                let proceeds = notional.minus(fee)?;
                self.execute::<Portfolio>(
                    portfolio,
                    PortfolioCommand::Reduce {
                        trade_id,
                        order_id: order_id.clone(),
                        to: asset,
                        quantity,
                        proceeds,
                    },
                )?;
            }
        }
        if placed.is_open() { Ok(()) } else { self.release(&order_id) }
    }

    /// The user takes an order back.
    pub fn cancel(&mut self, order_id: &OrderId) -> Result<Outcome, Refusal> {
        self.end(order_id, OrderCommand::Cancel)?;
        let unbook = MarketCommand::Unbook { order_id: order_id.clone(), code: Code::CanceledByUser };
        self.execute::<Market>(symbol(), unbook)?;
        Ok(Outcome::Done)
    }

    fn end(&mut self, order_id: &OrderId, ending: OrderCommand) -> Result<(), Refusal> {
        self.execute::<Order>(order_id.as_str(), ending)?;
        self.release(order_id)
    }

    fn release(&mut self, order_id: &OrderId) -> Result<(), Refusal> {
        let placed = self.order(order_id).clone();
        if let Some(hold_id) = placed.accepted.and_then(|accepted| accepted.hold_id) {
            let account = placed.ticket.account_id.as_str();
            self.execute::<Account>(account, AccountCommand::ReleaseOrderHold { hold_id })?;
        }
        let release = PortfolioCommand::ReleaseOrder { order_id: order_id.clone() };
        self.execute::<Portfolio>(placed.ticket.portfolio_id.as_str(), release)?;
        Ok(())
    }
}

#[derive(Clone)]
struct Trade {
    trade_id: TradeId,
    price: Price,
    quantity: Quantity,
}

fn ticket(wish: &Wish, instrument: &Instrument) -> Result<OrderTicket, Refusal> {
    let (portfolio, account, owner) = TRADERS[wish.trader];
    let quantity = wish.quantity.map(|number| Quantity::positive(instrument.base, number));
    let quote_quantity = wish.quote_quantity.map(|number| Money::positive(instrument.quote, number));
    Ok(OrderTicket {
        owner: owner.to_owned(),
        portfolio_id: PortfolioId::new(portfolio),
        account_id: AccountId::new(account),
        symbol: instrument.symbol.clone(),
        venue: instrument.venue,
        base: instrument.base,
        quote: instrument.quote,
        lot_size: instrument.lot_size,
        side: wish.side,
        order_type: wish.order_type,
        time_in_force: wish.order_type.time_in_force(wish.time_in_force),
        quantity: quantity.transpose()?,
        quote_quantity: quote_quantity.transpose()?,
        limit_price: wish.limit_price.map(Price::from_decimal).transpose()?,
        self_trade_prevention: wish.self_trade_prevention,
        client_order_id: None,
    })
}
