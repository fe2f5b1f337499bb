//! The use cases as scripts, without a log: what each does to which aggregates, and what it refuses.

#![allow(missing_docs, clippy::new_without_default, clippy::inconsistent_digit_grouping)]

mod accounts;
mod exchange;
mod orders;
mod paper;

use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use commands::aggregates::{Aggregates, Kept, Slot};
use commands::request::{
    AssetMovement, MoneyMovement, OpenAccount, OpenPortfolio, PlaceOrder, RegisterMarket,
};
use commands::unit::{DecidedEvent, Halt, Unit};
use commands::{Answer, Command, Principal, Role, use_cases};
use domain::account::{Account, AccountKind, OpenedAccount};
use domain::ids::{AccountId, OrderId, PortfolioId, Symbol};
use domain::market::{Market, Venue};
use domain::order::{Order, OrderSide, OrderType, Placed, SelfTradePrevention, TimeInForce};
use domain::portfolio::{OpenedPortfolio, Portfolio};
use domain::quote::Quote;
use domain::{Code, Decimal};

/// Aggregates in memory, a clock that is set by hand, and the log's events in their order.
pub struct House {
    pub aggregates: Aggregates,
    pub now: DateTime<Utc>,
    pub events: Vec<DecidedEvent>,
}

/// What a trader needs: an account with cash, and a portfolio on it.
#[derive(Clone)]
pub struct Trader {
    pub principal: Principal,
    pub account: AccountId,
    pub portfolio: PortfolioId,
}

pub fn dec(text: &str) -> Decimal {
    text.parse().unwrap()
}

pub fn trader(owner: &str) -> Principal {
    Principal { name: format!("{owner}-key").into(), role: Role::Trader, owner: Some(owner.into()) }
}

pub fn of_role(role: Role) -> Principal {
    Principal { name: role.as_str().into(), role, owner: None }
}

impl House {
    pub fn new() -> Self {
        Self {
            aggregates: Aggregates::default(),
            now: "2026-01-05T09:00:00Z".parse().unwrap(),
            events: Vec::new(),
        }
    }

    fn load_empty<A: Kept>(&mut self, id: &Arc<str>) {
        A::shelf_mut(&mut self.aggregates).load(Slot::loaded(Arc::clone(id), A::default(), 0, 0));
    }

    /// Runs the command as `principal`; a stream that is not in memory is empty.
    pub fn run(&mut self, principal: &Principal, command: Command) -> Result<Answer, Halt> {
        principal.authorise(&command)?;
        loop {
            let mut unit = Unit::begin(&mut self.aggregates, principal, self.now, 1);
            match use_cases::run(&command, &mut unit) {
                Ok(answer) => {
                    self.events.extend(unit.complete());
                    return Ok(answer);
                }
                Err(Halt::Needs(streams)) => {
                    unit.abandon();
                    for stream in streams {
                        match stream.aggregate_type {
                            "account" => self.load_empty::<Account>(&stream.aggregate_id),
                            "portfolio" => self.load_empty::<Portfolio>(&stream.aggregate_id),
                            "order" => self.load_empty::<Order>(&stream.aggregate_id),
                            "market" => self.load_empty::<Market>(&stream.aggregate_id),
                            "quote" => self.load_empty::<Quote>(&stream.aggregate_id),
                            other => panic!("unknown aggregate type {other}"),
                        }
                    }
                }
                Err(halt) => {
                    unit.abandon();
                    return Err(halt);
                }
            }
        }
    }

    pub fn refused(&mut self, principal: &Principal, command: Command) -> Code {
        let before = self.events.len();
        let code = match self.run(principal, command) {
            Err(Halt::Refused(refusal) | Halt::Forbidden(refusal)) => refusal.code,
            other => panic!("expected a refusal, got {other:?}"),
        };
        assert_eq!(self.events.len(), before, "a refused command has no event");
        code
    }

    pub fn tick(&mut self, seconds: i64) {
        self.now += Duration::seconds(seconds);
    }

    pub fn account(&self, id: &AccountId) -> OpenedAccount {
        Account::shelf(&self.aggregates).get(id.as_str()).unwrap().state.opened().unwrap().clone()
    }

    pub fn portfolio(&self, id: &PortfolioId) -> OpenedPortfolio {
        Portfolio::shelf(&self.aggregates).get(id.as_str()).unwrap().state.opened().unwrap().clone()
    }

    pub fn order(&self, id: &OrderId) -> Placed {
        Order::shelf(&self.aggregates).get(id.as_str()).unwrap().state.placed().unwrap().clone()
    }

    pub fn open_account(&mut self, owner: &str, currency: &str, balance: &str) -> AccountId {
        let answer = self
            .run(
                &trader(owner),
                Command::OpenAccount(OpenAccount {
                    owner: owner.into(),
                    currency: currency.parse().unwrap(),
                    kind: AccountKind::Brokerage,
                    overdraft_limit: Decimal::ZERO,
                }),
            )
            .unwrap();
        let account = answer.account_id.unwrap();
        if balance != "0" {
            self.run(&of_role(Role::Operator), Command::Deposit(movement(&account, balance))).unwrap();
        }
        account
    }

    pub fn open_trader(&mut self, owner: &str, currency: &str, balance: &str) -> Trader {
        let account = self.open_account(owner, currency, balance);
        let principal = trader(owner);
        let answer = self
            .run(
                &principal,
                Command::OpenPortfolio(OpenPortfolio {
                    owner: owner.into(),
                    name: "main".into(),
                    cash_account_id: account.clone(),
                }),
            )
            .unwrap();
        Trader { principal, account, portfolio: answer.portfolio_id.unwrap() }
    }

    pub fn give(&mut self, trader: &Trader, asset: &str, quantity: &str, unit_cost: &str) {
        self.run(
            &of_role(Role::Operator),
            Command::DepositAsset(AssetMovement {
                portfolio_id: trader.portfolio.clone(),
                asset: asset.parse().unwrap(),
                quantity: dec(quantity),
                unit_cost: Some(dec(unit_cost)),
                reference: None,
            }),
        )
        .unwrap();
    }

    pub fn register(&mut self, symbol: &str, venue: Venue) {
        let (base, quote) = symbol.split_once('-').unwrap();
        self.run(
            &of_role(Role::Operator),
            Command::RegisterMarket(RegisterMarket {
                symbol: Symbol::new(symbol),
                base: base.parse().unwrap(),
                quote: quote.parse().unwrap(),
                venue,
                tick_size: dec("0.01"),
                lot_size: dec("0.0001"),
                min_quantity: dec("0.0001"),
                max_quantity: dec("9000"),
                min_notional: dec("5"),
                maker_fee_bps: dec("5"),
                taker_fee_bps: dec("10"),
                price_band: None,
            }),
        )
        .unwrap();
    }
}

pub fn movement(account: &AccountId, amount: &str) -> MoneyMovement {
    MoneyMovement { account_id: account.clone(), amount: dec(amount), reference: None, effective_at: None }
}

pub fn limit(trader: &Trader, symbol: &str, side: OrderSide, quantity: &str, price: &str) -> PlaceOrder {
    PlaceOrder {
        portfolio_id: trader.portfolio.clone(),
        symbol: Symbol::new(symbol),
        side,
        order_type: OrderType::Limit,
        time_in_force: TimeInForce::Gtc,
        quantity: Some(dec(quantity)),
        quote_quantity: None,
        limit_price: Some(dec(price)),
        self_trade_prevention: SelfTradePrevention::ExpireTaker,
        client_order_id: None,
    }
}

pub fn market(trader: &Trader, symbol: &str, side: OrderSide, quantity: &str) -> PlaceOrder {
    PlaceOrder {
        order_type: OrderType::Market,
        limit_price: None,
        ..limit(trader, symbol, side, quantity, "1")
    }
}
