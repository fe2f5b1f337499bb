//! A small bank and exchange that decides with the domain's own rules, and keeps what it has decided as commands for
//! the log. What it holds in memory is what the read models must say.

use std::collections::{BTreeMap, BTreeSet};

use domain::account::{Account, AccountCommand, AccountEvent, AccountKind};
use domain::decider::Decider;
use domain::ids::{AccountId, HoldId, MovementId, OrderId, Party, PortfolioId, Symbol, TradeId};
use domain::market::{Instrument, Market, MarketCommand, MarketEvent, Venue};
use domain::order::{
    Liquidity, Order, OrderCommand, OrderEvent, OrderSide, OrderTicket, OrderType, RiskStage,
    SelfTradePrevention, TimeInForce,
};
use domain::portfolio::{Portfolio, PortfolioCommand};
use domain::quote::{BestLevel, ObservedWindow, Quote, QuoteCommand, TradedWindow};
use domain::{Code, Decimal, Money, Price, Quantity, Rate, Refusal, Timestamp};
use event_store::{CommandWrite, NewEvent, StreamId};
use uuid::Uuid;

use super::random::Random;

type Shelf<A> = BTreeMap<String, (A, u64)>;

/// Every aggregate there is.
#[derive(Clone, Default)]
pub struct Books {
    pub accounts: Shelf<Account>,
    pub portfolios: Shelf<Portfolio>,
    pub orders: Shelf<Order>,
    pub markets: Shelf<Market>,
    pub quotes: Shelf<Quote>,
}

pub trait Kept: Decider {
    fn shelf(books: &mut Books) -> &mut Shelf<Self>;
}

macro_rules! kept {
    ($($aggregate:ty => $shelf:ident),+) => {$(
        impl Kept for $aggregate {
            fn shelf(books: &mut Books) -> &mut Shelf<Self> {
                &mut books.$shelf
            }
        }
    )+};
}
kept!(Account => accounts, Portfolio => portfolios, Order => orders, Market => markets, Quote => quotes);

pub const OWNERS: [&str; 3] = ["ada", "bert", "cleo"];
pub const INTERNAL: &str = "ACME-USDT";
pub const PAPER: &str = "BTC-USDT";

pub struct House {
    pub books: Books,
    pub now: Timestamp,
    pub random: Random,
    unit: Vec<NewEvent>,
    ids: u64,
    commands: u64,
}

type Script = Result<(), Refusal>;

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

pub fn price(text: &str) -> Price {
    text.parse().unwrap()
}

impl House {
    pub fn new(seed: u64) -> Self {
        Self {
            books: Books::default(),
            now: "2026-01-05T09:58:30Z".parse().unwrap(),
            random: Random::new(seed),
            unit: Vec::new(),
            ids: 0,
            commands: 0,
        }
    }

    /// Accounts with money, portfolios with assets and both markets.
    pub fn opened(seed: u64) -> (Self, Vec<CommandWrite>) {
        let mut house = Self::new(seed);
        let mut commands = Vec::new();
        for (symbol, base, venue) in [(INTERNAL, "ACME", Venue::Internal), (PAPER, "BTC", Venue::Paper)] {
            commands.extend(house.register(symbol, base, venue));
        }
        for owner in OWNERS {
            commands.extend(house.open(owner));
        }
        (house, commands)
    }

    /// Runs a script as one command; a refusal undoes it.
    pub fn command(&mut self, script: impl FnOnce(&mut Self) -> Script) -> Option<CommandWrite> {
        let before = self.books.clone();
        self.unit.clear();
        match script(self) {
            Ok(()) if !self.unit.is_empty() => {
                self.commands += 1;
                Some(CommandWrite { events: std::mem::take(&mut self.unit), ..CommandWrite::default() })
            }
            Ok(()) => None,
            Err(_) => {
                self.books = before;
                None
            }
        }
    }

    pub fn state<A: Kept>(&mut self, id: &str) -> A {
        A::shelf(&mut self.books).get(id).map(|(state, _)| state.clone()).unwrap_or_default()
    }

    pub fn execute<A: Kept>(&mut self, id: &str, command: &A::Command) -> Result<Vec<A::Event>, Refusal>
    where
        A::Event: serde::Serialize,
    {
        let now = self.now;
        let command_id = format!("command-{}", self.commands);
        let (state, sequence) = A::shelf(&mut self.books).entry(id.to_owned()).or_default();
        let events = state.decide(command, now)?;
        let mut decided = Vec::new();
        for event in &events {
            state.apply(event);
            *sequence += 1;
            decided.push(NewEvent {
                stream: StreamId::new(A::TYPE, id),
                sequence: *sequence,
                event_id: Uuid::now_v7(),
                event_type: cqrs_es::DomainEvent::event_type(event).into(),
                event_version: cqrs_es::DomainEvent::event_version(event).into(),
                payload: serde_json::to_string(event).unwrap().into(),
                metadata: format!(
                    r#"{{"actor":"tester","command_id":"{command_id}","correlation_id":"request-{command_id}"}}"#
                )
                .into(),
            });
        }
        self.unit.extend(decided);
        Ok(events)
    }

    fn new_id(&mut self, kind: &str) -> String {
        self.ids += 1;
        format!("{kind}-{:06}", self.ids)
    }

    fn register(&mut self, symbol: &str, base: &str, venue: Venue) -> Option<CommandWrite> {
        let base = base.parse().unwrap();
        let quote = "USDT".parse().unwrap();
        let quantity = |text: &str| Quantity::from_decimal(base, decimal(text)).unwrap();
        let instrument = Instrument {
            symbol: Symbol::new(symbol),
            base,
            quote,
            venue,
            tick_size: price("0.01"),
            lot_size: quantity("0.001"),
            min_quantity: quantity("0.001"),
            max_quantity: quantity("9000"),
            min_notional: Money::zero(quote),
            maker_fee: Rate::from_basis_points(decimal("1.5")).unwrap(),
            taker_fee: Rate::from_basis_points(decimal("7.25")).unwrap(),
            price_band: None,
        };
        self.command(|house| {
            house.execute::<Market>(symbol, &MarketCommand::Register { instrument }).map(drop)
        })
    }

    /// An account with money, and a portfolio with assets that it pays for.
    pub fn open(&mut self, owner: &str) -> Vec<CommandWrite> {
        let account = self.new_id("account");
        let portfolio = self.new_id("portfolio");
        let account_id = AccountId::new(account.as_str());
        let open = self.command(|house| {
            let command = AccountCommand::Open {
                account_id: account_id.clone(),
                owner: owner.to_owned(),
                currency: "USDT".parse().unwrap(),
                kind: AccountKind::Brokerage,
                overdraft_limit: decimal("25"),
            };
            house.execute::<Account>(&account, &command).map(drop)
        });
        let deposit = self.command(|house| {
            let command =
                AccountCommand::Deposit { amount: decimal("50000"), reference: None, effective_at: None };
            house.execute::<Account>(&account, &command).map(drop)
        });
        let portfolio_id = PortfolioId::new(portfolio.as_str());
        let open_portfolio = self.command(|house| {
            let command = PortfolioCommand::Open {
                portfolio_id,
                owner: owner.to_owned(),
                name: "main".to_owned(),
                cash_account_id: account_id.clone(),
                currency: "USDT".parse().unwrap(),
            };
            house.execute::<Portfolio>(&portfolio, &command).map(drop)
        });
        let assets = ["ACME", "BTC"].map(|asset| {
            self.command(|house| {
                let command = PortfolioCommand::DepositAsset {
                    asset: asset.parse().unwrap(),
                    quantity: decimal("120.5"),
                    unit_cost: Some(decimal("33.33")),
                    reference: Some("first".to_owned()),
                };
                house.execute::<Portfolio>(&portfolio, &command).map(drop)
            })
        });
        [open, deposit, open_portfolio].into_iter().chain(assets).flatten().collect()
    }

    /// So many commands of any kind, those left out that the rules refuse.
    pub fn live(&mut self, commands: usize) -> Vec<CommandWrite> {
        let mut lived = Vec::new();
        while lived.len() < commands {
            self.now += chrono::TimeDelta::milliseconds(self.random.below(4_000) as i64);
            lived.extend(self.anything());
        }
        lived
    }

    fn any_account(&mut self) -> String {
        let ids: Vec<_> = self.books.accounts.keys().cloned().collect();
        ids[self.random.below(ids.len() as u64) as usize].clone()
    }

    fn any_portfolio(&mut self) -> String {
        let ids: Vec<_> = self.books.portfolios.keys().cloned().collect();
        ids[self.random.below(ids.len() as u64) as usize].clone()
    }

    fn any_amount(&mut self) -> Decimal {
        Decimal::new(1 + i128::from(self.random.below(900_000_000)), 6)
    }

    fn any_hold(&mut self) -> Option<HoldId> {
        let account = self.any_account();
        let account = self.state::<Account>(&account);
        let holds: Vec<_> = account.opened().ok()?.holds.keys().cloned().collect();
        (!holds.is_empty()).then(|| holds[self.random.below(holds.len() as u64) as usize].clone())
    }

    fn any_open_order(&mut self) -> Option<OrderId> {
        let open: Vec<_> = self
            .books
            .orders
            .values()
            .filter_map(|(order, _)| order.placed().ok())
            .filter(|o| o.is_open())
            .collect();
        let place = if open.is_empty() { return None } else { self.random.below(open.len() as u64) as usize };
        Some(open[place].order_id.clone())
    }

    fn anything(&mut self) -> Option<CommandWrite> {
        let account = self.any_account();
        let amount = self.any_amount();
        let reference = self.random.chance(3).then(|| "a \\ reference\u{e9}".to_owned());
        match self.random.below(18) {
            0 => self.command(|house| {
                let command = AccountCommand::Deposit { amount, reference, effective_at: None };
                house.execute::<Account>(&account, &command).map(drop)
            }),
            1 => self.command(|house| {
                let command = AccountCommand::Withdraw { amount, reference, effective_at: None };
                house.execute::<Account>(&account, &command).map(drop)
            }),
            2 | 3 => {
                let to = self.any_account();
                self.command(|house| house.transfer(&account, &to, amount, reference))
            }
            4 | 5 => self.command(|house| {
                let expires_at = house.random.chance(2).then(|| house.now + chrono::TimeDelta::seconds(20));
                let command = AccountCommand::PlaceHold { amount, expires_at, reference };
                house.execute::<Account>(&account, &command).map(drop)
            }),
            6 => {
                let hold_id = self.any_hold()?;
                let to = self.any_account();
                let amount = self.random.chance(2).then(|| decimal("0.5"));
                self.command(|house| house.capture(hold_id, &to, amount))
            }
            7 => {
                let hold_id = self.any_hold()?;
                self.command(|house| {
                    let account = hold_id.account();
                    let command = AccountCommand::ReleaseHold { hold_id };
                    house.execute::<Account>(account.as_str(), &command).map(drop)
                })
            }
            8 => self
                .command(|house| house.execute::<Account>(&account, &AccountCommand::ExpireHolds).map(drop)),
            9 => self.command(|house| {
                let limit = decimal("40.5");
                let command = AccountCommand::SetOverdraftLimit { limit, reason: None };
                house.execute::<Account>(&account, &command).map(drop)
            }),
            10 => {
                let portfolio = self.any_portfolio();
                let quantity = Decimal::new(1 + i128::from(self.random.below(9_000)), 3);
                let command = if self.random.chance(2) {
                    PortfolioCommand::DepositAsset {
                        asset: "ACME".parse().unwrap(),
                        quantity,
                        unit_cost: None,
                        reference,
                    }
                } else {
                    PortfolioCommand::WithdrawAsset { asset: "BTC".parse().unwrap(), quantity, reference }
                };
                self.command(|house| house.execute::<Portfolio>(&portfolio, &command).map(drop))
            }
            11 | 12 => self.observe(),
            13 => {
                let order_id = self.any_open_order()?;
                self.command(|house| house.cancel(&order_id))
            }
            14 => {
                let order_id = self.any_open_order()?;
                self.command(|house| house.paper_fill(&order_id))
            }
            _ => {
                let portfolio = self.any_portfolio();
                let symbol = if self.random.chance(3) { PAPER } else { INTERNAL };
                self.command(|house| house.place(&portfolio, symbol))
            }
        }
    }

    pub fn transfer(&mut self, from: &str, to: &str, amount: Decimal, reference: Option<String>) -> Script {
        let send = AccountCommand::SendTransfer {
            to: AccountId::new(to),
            amount,
            reference: reference.clone(),
            effective_at: None,
        };
        for event in self.execute::<Account>(from, &send)? {
            if let AccountEvent::TransferSent { transfer_id, amount, .. } = event {
                self.receive(transfer_id, from, to, amount, reference.clone())?;
            }
        }
        Ok(())
    }

    fn receive(
        &mut self,
        transfer_id: MovementId,
        from: &str,
        to: &str,
        amount: Money,
        reference: Option<String>,
    ) -> Script {
        let receive = AccountCommand::ReceiveTransfer {
            transfer_id,
            from: AccountId::new(from),
            amount,
            reference,
            effective_at: None,
        };
        self.execute::<Account>(to, &receive).map(drop)
    }

    fn capture(&mut self, hold_id: HoldId, to: &str, amount: Option<Decimal>) -> Script {
        let from = hold_id.account();
        let capture = AccountCommand::CaptureHold { hold_id, to: AccountId::new(to), amount };
        for event in self.execute::<Account>(from.as_str(), &capture)? {
            if let AccountEvent::HoldCaptured { transfer_id, amount, .. } = event {
                self.receive(transfer_id, from.as_str(), to, amount, None)?;
            }
        }
        Ok(())
    }

    /// A window of the outside market, of the present second.
    pub fn observe(&mut self) -> Option<CommandWrite> {
        let cents = |random: &mut Random| 6_000_000 + i128::from(random.below(50_000));
        let at = |cents: i128| Price::from_decimal(Decimal::new(cents, 2)).unwrap();
        let prices = [(); 4].map(|()| cents(&mut self.random));
        let quantity =
            Quantity::from_units("BTC".parse().unwrap(), 1 + i128::from(self.random.below(900_000_000)))
                .unwrap();
        let traded = self.random.chance(2).then(|| TradedWindow {
            open: at(prices[0]),
            high: at(*prices.iter().max().unwrap()),
            low: at(*prices.iter().min().unwrap()),
            close: at(prices[3]),
            volume: quantity,
            quote_volume: Money::from_units("USDT".parse().unwrap(), quantity.units() * 61).unwrap(),
            trade_count: 1 + self.random.below(30) as u32,
        });
        let level = |cents| Some(BestLevel { price: at(cents), quantity });
        let window = ObservedWindow {
            symbol: Symbol::new(PAPER),
            feed: "test".to_owned(),
            pass: 1,
            opened_at: chrono::DurationRound::duration_trunc(self.now, chrono::TimeDelta::seconds(1))
                .unwrap(),
            length_ms: 1_000,
            bid: level(5_999_999),
            ask: level(6_050_001),
            traded,
        };
        self.command(|house| house.execute::<Quote>(PAPER, &QuoteCommand::Observe { window }).map(drop))
    }

    fn place(&mut self, portfolio: &str, symbol: &str) -> Script {
        let market = self.state::<Market>(symbol);
        let market = market.registered()?.clone();
        let instrument = &market.instrument;
        let opened = self.state::<Portfolio>(portfolio);
        let opened = opened.opened()?;
        let order_id = OrderId::new(self.new_id("order"));
        let side = if self.random.chance(2) { OrderSide::Buy } else { OrderSide::Sell };
        let base_cents = if symbol == PAPER { 6_000_000 } else { 10_000 };
        let cents = base_cents + i128::from(self.random.below(400));
        let lots = 1 + i128::from(self.random.below(if symbol == PAPER { 30 } else { 9_000 }));
        let ticket = OrderTicket {
            owner: opened.owner.clone(),
            portfolio_id: PortfolioId::new(portfolio),
            account_id: opened.cash_account_id.clone(),
            symbol: instrument.symbol.clone(),
            venue: instrument.venue,
            base: instrument.base,
            quote: instrument.quote,
            lot_size: instrument.lot_size,
            side,
            order_type: OrderType::Limit,
            time_in_force: if self.random.chance(4) { TimeInForce::Ioc } else { TimeInForce::Gtc },
            quantity: Some(Quantity::from_decimal(instrument.base, Decimal::new(lots, 3))?),
            quote_quantity: None,
            limit_price: Some(Price::from_decimal(Decimal::new(cents, 2))?),
            self_trade_prevention: SelfTradePrevention::ExpireMaker,
            client_order_id: self.random.chance(5).then(|| format!("mine-{}", order_id.as_str())),
        };
        let required = ticket.requirements(None, instrument.maker_fee, instrument.taker_fee)?;
        let id = order_id.as_str();
        let place = OrderCommand::Place { order_id: order_id.clone(), ticket: ticket.clone() };
        self.execute::<Order>(id, &place)?;
        let figures = BTreeMap::from([("notional".to_owned(), required.notional.number())]);
        if self.random.chance(8) {
            let reject = OrderCommand::Reject {
                stage: RiskStage::Instrument,
                code: Code::PriceBand,
                message: "too far away".to_owned(),
                figures,
            };
            return self.execute::<Order>(id, &reject).map(drop);
        }
        for stage in [RiskStage::Instrument, RiskStage::Portfolio] {
            let figures = figures.clone();
            self.execute::<Order>(id, &OrderCommand::PassRiskStage { stage, figures })?;
        }
        let mut hold_id = None;
        if let Some(amount) = required.cash {
            let hold = AccountCommand::HoldForOrder { order_id: order_id.clone(), amount };
            for event in self.execute::<Account>(ticket.account_id.as_str(), &hold)? {
                if let AccountEvent::HoldPlaced { hold_id: placed, .. } = event {
                    hold_id = Some(placed);
                }
            }
        }
        let set_aside = match required.quantity {
            Some(quantity) if side == OrderSide::Sell => {
                PortfolioCommand::Reserve { order_id: order_id.clone(), quantity }
            }
            _ => PortfolioCommand::CommitBuy {
                order_id: order_id.clone(),
                asset: ticket.base,
                notional: required.notional,
            },
        };
        self.execute::<Portfolio>(portfolio, &set_aside)?;
        let accept = OrderCommand::Accept {
            hold_id,
            held: required.cash,
            reserved: required.quantity,
            price_bound: None,
            maker_fee: instrument.maker_fee,
            taker_fee: instrument.taker_fee,
        };
        self.execute::<Order>(id, &accept)?;
        if instrument.venue == Venue::Internal { self.trade(&order_id) } else { Ok(()) }
    }

    fn trade(&mut self, order_id: &OrderId) -> Script {
        let order = self.state::<Order>(order_id.as_str());
        let order = order.placed()?.clone();
        let incoming = order.incoming()?;
        let market = self.state::<Market>(INTERNAL);
        let matching = market.registered()?.match_incoming(&incoming, &BTreeSet::new())?;
        let makers: BTreeMap<_, _> = matching
            .met
            .iter()
            .map(|(order, account, portfolio)| (order.clone(), (account.clone(), portfolio.clone())))
            .collect();
        let command = MarketCommand::Match { order: incoming, barred: BTreeSet::new() };
        for event in self.execute::<Market>(INTERNAL, &command)? {
            match event {
                MarketEvent::TradeExecuted { trade_id, maker_order_id, price, quantity, .. } => {
                    let (account, portfolio) = &makers[&maker_order_id];
                    let taker =
                        (Party::from(&order.ticket.account_id), Party::from(&order.ticket.portfolio_id));
                    let maker = (Party::from(account), Party::from(portfolio));
                    for (id, liquidity, other) in
                        [(&maker_order_id, Liquidity::Maker, taker), (order_id, Liquidity::Taker, maker)]
                    {
                        self.settle(id, trade_id.clone(), price, quantity, liquidity, other)?;
                    }
                }
                MarketEvent::OrderUnbooked { order_id, code } => {
                    self.end(&order_id, &OrderCommand::Expire { code })?;
                }
                _ => {}
            }
        }
        match matching.ends {
            Some(code) => self.end(order_id, &OrderCommand::Expire { code }),
            None => Ok(()),
        }
    }

    /// A fill of part of what remains, by the outside market.
    fn paper_fill(&mut self, order_id: &OrderId) -> Script {
        let order = self.state::<Order>(order_id.as_str());
        let order = order.placed()?.clone();
        let (Venue::Paper, Some(remaining), Some(price)) =
            (order.ticket.venue, order.remaining()?, order.ticket.limit_price)
        else {
            return Ok(());
        };
        let lot = order.ticket.lot_size.units();
        let lots = remaining.units() / lot;
        let lots = 1 + i128::from(self.random.below(lots.try_into().unwrap()));
        let quantity = Quantity::from_units(remaining.asset(), lots * lot)?;
        let trade_id = TradeId::new(format!("{order_id}.f{}", order.fill_count + 1));
        let venue = (Party::PAPER_VENUE, Party::PAPER_VENUE);
        self.settle(order_id, trade_id, price, quantity, Liquidity::Maker, venue)
    }

    fn settle(
        &mut self,
        order_id: &OrderId,
        trade_id: TradeId,
        price: Price,
        quantity: Quantity,
        liquidity: Liquidity,
        (cash_side, asset_side): (Party, Party),
    ) -> Script {
        let fill =
            OrderCommand::Fill { trade_id: trade_id.clone(), price, quantity, liquidity, evidence: None };
        let filled = self.execute::<Order>(order_id.as_str(), &fill)?;
        let Some(OrderEvent::OrderFilled { notional, fee, .. }) = filled.into_iter().next() else {
            panic!("a fill decides OrderFilled");
        };
        let order = self.state::<Order>(order_id.as_str());
        let order = order.placed()?;
        let account = order.ticket.account_id.as_str();
        let portfolio = order.ticket.portfolio_id.as_str();
        let order_id = order_id.clone();
        if order.ticket.side == OrderSide::Buy {
            let hold_id = order.accepted.as_ref().and_then(|terms| terms.hold_id.clone()).unwrap();
            let settle = AccountCommand::SettlePurchase {
                trade_id: trade_id.clone(),
                order_id: order_id.clone(),
                hold_id,
                counterparty: cash_side,
                notional,
                fee,
                hold_remaining: order.cash_required()?,
            };
            self.execute::<Account>(account, &settle)?;
            let increase = PortfolioCommand::Increase {
                trade_id,
                order_id: order_id.clone(),
                from: asset_side,
                quantity,
                cost: notional.plus(fee)?,
                committed: order.committed_notional()?,
            };
            self.execute::<Portfolio>(portfolio, &increase)?;
        } else {
            let settle = AccountCommand::SettleSale {
                trade_id: trade_id.clone(),
                order_id: order_id.clone(),
                counterparty: cash_side,
                notional,
                fee,
            };
            self.execute::<Account>(account, &settle)?;
            let proceeds = notional.minus(fee)?;
            let reduce = PortfolioCommand::Reduce {
                trade_id,
                order_id: order_id.clone(),
                to: asset_side,
                quantity,
                proceeds,
            };
            self.execute::<Portfolio>(portfolio, &reduce)?;
        }
        if order.is_open() { Ok(()) } else { self.free(&order_id) }
    }

    fn cancel(&mut self, order_id: &OrderId) -> Script {
        self.end(order_id, &OrderCommand::Cancel)?;
        let order = self.state::<Order>(order_id.as_str());
        if order.placed()?.ticket.venue == Venue::Internal {
            let unbook = MarketCommand::Unbook { order_id: order_id.clone(), code: Code::CanceledByUser };
            self.execute::<Market>(INTERNAL, &unbook)?;
        }
        Ok(())
    }

    fn end(&mut self, order_id: &OrderId, ending: &OrderCommand) -> Script {
        self.execute::<Order>(order_id.as_str(), ending)?;
        self.free(order_id)
    }

    fn free(&mut self, order_id: &OrderId) -> Script {
        let order = self.state::<Order>(order_id.as_str());
        let order = order.placed()?;
        if let Some(hold_id) = order.accepted.as_ref().and_then(|terms| terms.hold_id.clone()) {
            let release = AccountCommand::ReleaseOrderHold { hold_id };
            self.execute::<Account>(order.ticket.account_id.as_str(), &release)?;
        }
        let release = PortfolioCommand::ReleaseOrder { order_id: order_id.clone() };
        self.execute::<Portfolio>(order.ticket.portfolio_id.as_str(), &release).map(drop)
    }
}
