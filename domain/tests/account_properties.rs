//! What always holds of accounts, whatever is asked of them: checked after every one of many generated commands.
//!
//! Four accounts, three in dollars and one in euros, are asked at random, with a liking for the edges. A ledger beside them
//! keeps both sides of every event, with numbers that have no bounds.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use chrono::Duration;
use common::{assert_replays_from_every_cut, decide_both_ways, noon, property, read};
use domain::account::{
    Account, AccountCommand as Command, AccountEvent as Event, AccountKind, AccountStatus,
};
use domain::amount::MAX_UNITS;
use domain::ids::{AccountId, HoldId, OrderId, Party};
use domain::{Asset, Code, Decider, Decimal, Money, Refusal, Timestamp};
use num_bigint::BigInt;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;

// ---- what is asked

/// An amount that is only known when the account is.
#[derive(Clone, Debug)]
enum Size {
    Zero,
    Negative,
    BelowTheSmallestUnit,
    SmallestUnit,
    AllAvailable,
    OneMoreThanAvailable,
    Half,
    Largest,
    MoreThanLargest,
    Units(u32),
}

#[derive(Clone, Debug)]
enum Request {
    Deposit(Size, Option<i64>),
    Withdraw(Size),
    Transfer(usize, Size),
    PlaceHold(Size, Option<i64>),
    CaptureHold(Index, usize, Option<Size>),
    ReleaseHold(Index),
    ExpireHolds,
    HoldForOrder(Size),
    SettlePurchase(Index, [u8; 3]),
    SettleSale(Size, u8),
    ReleaseOrderHold(Index),
    SetOverdraftLimit(Size),
    Freeze,
    Unfreeze,
    Close,
    OpenAgain,
}

#[derive(Clone, Debug)]
struct Step {
    /// Clocks step, back too.
    seconds: i64,
    account: usize,
    request: Request,
}

const NAMES: [&str; 4] = ["alice", "bob", "carol", "erika"];

fn size() -> impl Strategy<Value = Size> {
    prop_oneof![
        1 => Just(Size::Zero),
        1 => Just(Size::Negative),
        1 => Just(Size::BelowTheSmallestUnit),
        2 => Just(Size::SmallestUnit),
        3 => Just(Size::AllAvailable),
        2 => Just(Size::OneMoreThanAvailable),
        3 => Just(Size::Half),
        1 => Just(Size::Largest),
        1 => Just(Size::MoreThanLargest),
        8 => (1u32..100_000).prop_map(Size::Units),
    ]
}

/// Some accounts are hotter than others.
fn account() -> impl Strategy<Value = usize> {
    prop_oneof![8 => Just(0usize), 4 => Just(1), 2 => Just(2), 1 => Just(3)]
}

fn request() -> impl Strategy<Value = Request> {
    let expiry = || proptest::option::of(prop_oneof![Just(0i64), Just(1), -5i64..60]);
    prop_oneof![
        8 => (size(), proptest::option::of(-5i64..2)).prop_map(|(size, at)| Request::Deposit(size, at)),
        4 => size().prop_map(Request::Withdraw),
        8 => (account(), size()).prop_map(|(to, size)| Request::Transfer(to, size)),
        8 => (size(), expiry()).prop_map(|(size, expiry)| Request::PlaceHold(size, expiry)),
        6 => (any::<Index>(), account(), proptest::option::of(size()))
            .prop_map(|(hold, to, size)| Request::CaptureHold(hold, to, size)),
        3 => any::<Index>().prop_map(Request::ReleaseHold),
        2 => Just(Request::ExpireHolds),
        6 => size().prop_map(Request::HoldForOrder),
        6 => (any::<Index>(), any::<[u8; 3]>()).prop_map(|(hold, parts)| Request::SettlePurchase(hold, parts)),
        4 => (size(), any::<u8>()).prop_map(|(size, fee)| Request::SettleSale(size, fee)),
        3 => any::<Index>().prop_map(Request::ReleaseOrderHold),
        4 => size().prop_map(Request::SetOverdraftLimit),
        1 => Just(Request::Freeze),
        2 => Just(Request::Unfreeze),
        1 => Just(Request::Close),
        1 => Just(Request::OpenAgain),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let seconds = prop_oneof![4 => Just(0i64), 3 => 0i64..10, 1 => -20i64..0, 1 => Just(3_600)];
    let step = (seconds, account(), request());
    proptest::collection::vec(
        step.prop_map(|(seconds, account, request)| Step { seconds, account, request }),
        1..60,
    )
}

// ---- the ledger beside

/// A hold as the ledger knows it.
#[derive(Clone, Debug)]
struct Pledge {
    remaining: BigInt,
    expires_at: Option<Timestamp>,
    ended: bool,
}

/// Both sides of everything that happened.
#[derive(Default)]
struct Ledger {
    /// By party and asset; what has left one account and not reached the other yet is with the party `in transit`.
    balances: BTreeMap<(String, Asset), BigInt>,
    debits: BTreeMap<String, BigInt>,
    credits: BTreeMap<String, BigInt>,
    pledges: BTreeMap<HoldId, Pledge>,
}

impl Ledger {
    fn post(&mut self, from: &str, to: &str, amount: Money) {
        if amount.is_zero() {
            return;
        }
        assert!(amount.is_positive(), "a movement is of a positive amount: {amount} from {from} to {to}");
        assert_ne!(from, to, "a movement has two sides");
        let units = BigInt::from(amount.units());
        *self.balances.entry((from.to_owned(), amount.asset())).or_default() -= &units;
        *self.balances.entry((to.to_owned(), amount.asset())).or_default() += &units;
        *self.debits.entry(from.to_owned()).or_default() += &units;
        *self.credits.entry(to.to_owned()).or_default() += &units;
    }

    /// The hold ends, or goes on with less; what it held is what was paid, what came free and what remains.
    fn draw(&mut self, hold_id: &HoldId, paid: Money, free: Option<Money>, remains: Money) {
        let pledge = self.pledges.get_mut(hold_id).expect("a hold was placed before it is drawn on");
        assert!(!pledge.ended, "{hold_id} ends once");
        let rest = &pledge.remaining - paid.units() - remains.units();
        assert!(rest >= BigInt::ZERO, "{hold_id} pays no more than it holds");
        if let Some(free) = free {
            assert_eq!(rest, BigInt::from(free.units()), "the parts of {hold_id} sum to the whole");
        }
        pledge.remaining = remains.units().into();
        pledge.ended = remains.is_zero();
    }

    fn record(&mut self, account: &AccountId, event: &Event, now: Timestamp) {
        let id = account.as_str();
        let nothing = |like: &Money| Money::zero(like.asset());
        match event {
            Event::FundsDeposited { from, amount, .. } => self.post(from.as_str(), id, *amount),
            Event::FundsWithdrawn { to, amount, .. } => self.post(id, to.as_str(), *amount),
            Event::TransferSent { amount, .. } => self.post(id, "in transit", *amount),
            Event::TransferReceived { amount, .. } => self.post("in transit", id, *amount),
            Event::HoldPlaced { hold_id, amount, expires_at, .. } => {
                assert!(amount.is_positive());
                let remaining = amount.units().into();
                let pledge = Pledge { remaining, expires_at: *expires_at, ended: false };
                assert!(
                    self.pledges.insert(hold_id.clone(), pledge).is_none(),
                    "a hold has an id of its own"
                );
            }
            Event::HoldCaptured { hold_id, amount, released, .. } => {
                let late = self.pledges[hold_id].expires_at.is_some_and(|at| at <= now);
                assert!(!late, "{hold_id} is not captured late");
                self.draw(hold_id, *amount, Some(*released), nothing(amount));
                self.post(id, "in transit", *amount);
            }
            Event::HoldReleased { hold_id, released } => {
                self.draw(hold_id, nothing(released), Some(*released), nothing(released));
            }
            Event::HoldExpired { hold_id, released } => {
                let due = self.pledges[hold_id].expires_at.is_some_and(|at| at <= now);
                assert!(due, "{hold_id} does not expire early");
                self.draw(hold_id, nothing(released), Some(*released), nothing(released));
            }
            Event::PurchaseSettled { hold_id, counterparty, notional, fee, hold_remaining, .. } => {
                let paid = notional.plus(*fee).expect("within what was held");
                self.draw(hold_id, paid, None, *hold_remaining);
                self.post(id, counterparty.as_str(), *notional);
                self.post(id, Party::FEES.as_str(), *fee);
            }
            Event::SaleSettled { counterparty, notional, fee, .. } => {
                self.post(counterparty.as_str(), id, *notional);
                self.post(id, Party::FEES.as_str(), *fee);
            }
            Event::AccountOpened { .. }
            | Event::OverdraftLimitSet { .. }
            | Event::AccountFrozen { .. }
            | Event::AccountUnfrozen { .. }
            | Event::AccountClosed { .. } => {}
        }
    }

    fn held_on(&self, account: &AccountId) -> BigInt {
        let of_account = |(hold_id, _): &(&HoldId, &Pledge)| hold_id.account() == *account;
        self.pledges.iter().filter(of_account).filter(|(_, p)| !p.ended).map(|(_, p)| &p.remaining).sum()
    }

    fn assert_balanced(&self) {
        let mut sums = BTreeMap::<Asset, BigInt>::new();
        for ((party, asset), balance) in &self.balances {
            assert!(
                party != "in transit" || *balance == BigInt::ZERO,
                "a transfer arrives whole or not at all"
            );
            *sums.entry(*asset).or_default() += balance;
        }
        assert!(sums.values().all(|sum| *sum == BigInt::ZERO), "every asset sums to zero: {sums:?}");
    }
}

// ---- the accounts

struct Bank {
    now: Timestamp,
    accounts: Vec<Account>,
    streams: Vec<Vec<Event>>,
    ledger: Ledger,
    codes: BTreeSet<Code>,
}

impl Bank {
    fn new() -> Self {
        let mut bank = Self {
            now: noon(),
            accounts: vec![Account::default(); NAMES.len()],
            streams: vec![Vec::new(); NAMES.len()],
            ledger: Ledger::default(),
            codes: BTreeSet::new(),
        };
        for account in 0..NAMES.len() {
            bank.unit(&[(account, bank.open(account))]).expect("a new account can be opened");
        }
        bank
    }

    fn open(&self, account: usize) -> Command {
        Command::Open {
            account_id: read(NAMES[account]),
            owner: NAMES[account].to_owned(),
            currency: read(if account == 3 { "EUR" } else { "USD" }),
            kind: AccountKind::Current,
            overdraft_limit: Decimal::new(if account == 1 { 5_000 } else { 0 }, 2),
        }
    }

    /// Runs commands in order, each on what the ones before leave; all of it happens, or nothing.
    fn unit(&mut self, commands: &[(usize, Command)]) -> Result<(), Refusal> {
        let mut accounts = self.accounts.clone();
        let mut happened = Vec::new();
        for (account, command) in commands {
            let events = decide_both_ways(&accounts[*account], command, self.now)?;
            assert_eq!(
                accounts[*account].decide(command, self.now),
                Ok(events.clone()),
                "the same question has the same answer"
            );
            for event in events {
                Decider::apply(&mut accounts[*account], &event);
                happened.push((*account, event));
            }
        }
        self.accounts = accounts;
        for (account, event) in happened {
            self.ledger.record(&read(NAMES[account]), &event, self.now);
            self.streams[account].push(event);
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) {
        self.now += Duration::seconds(step.seconds);
        let before = serde_json::to_string(&self.accounts).expect("states can be written");
        let commands = self.commands(step);
        let counts: Vec<usize> = self.streams.iter().map(Vec::len).collect();
        if let Err(refusal) = self.unit(&commands) {
            self.codes.insert(refusal.code);
            let after = serde_json::to_string(&self.accounts).expect("states can be written");
            assert_eq!(after, before, "a refused command changes nothing");
            assert_eq!(self.streams.iter().map(Vec::len).collect::<Vec<_>>(), counts);
        }
        self.assert_invariants();
    }

    fn commands(&self, step: &Step) -> Vec<(usize, Command)> {
        let account = step.account;
        let opened = self.accounts[account].opened().expect("all are open");
        let available = opened.available().expect("in range").units();
        let scale = opened.currency().scale();
        let number = |size: &Size| match size {
            Size::Zero => Decimal::ZERO,
            Size::Negative => Decimal::new(-1, scale),
            Size::BelowTheSmallestUnit => Decimal::new(1, scale + 1),
            Size::SmallestUnit => Decimal::new(1, scale),
            Size::AllAvailable => Decimal::new(available, scale),
            Size::OneMoreThanAvailable => Decimal::new(available + 1, scale),
            Size::Half => Decimal::new(available / 2, scale),
            Size::Largest => Decimal::new(MAX_UNITS, scale),
            Size::MoreThanLargest => Decimal::new(MAX_UNITS + 1, scale),
            Size::Units(units) => Decimal::new(i128::from(*units), scale),
        };
        let money = |size: &Size| {
            Money::from_decimal(opened.currency(), number(size)).unwrap_or(Money::zero(opened.currency()))
        };
        let in_seconds = |seconds: &i64| self.now + Duration::seconds(*seconds);
        let hold = |index: &Index| {
            HoldId::nth(&opened.account_id, index.index(opened.hold_count as usize + 2) as u64)
        };
        let reference = Some("generated".to_owned());
        let command = match &step.request {
            Request::Deposit(size, at) => Command::Deposit {
                amount: number(size),
                reference,
                effective_at: at.as_ref().map(in_seconds),
            },
            Request::Withdraw(size) => {
                Command::Withdraw { amount: number(size), reference: None, effective_at: None }
            }
            Request::Transfer(to, size) => return self.transfer(account, *to, number(size)),
            Request::PlaceHold(size, expiry) => Command::PlaceHold {
                amount: number(size),
                expires_at: expiry.as_ref().map(in_seconds),
                reference: None,
            },
            Request::CaptureHold(index, to, size) => {
                return self.capture(account, hold(index), *to, size.as_ref().map(number));
            }
            Request::ReleaseHold(index) => Command::ReleaseHold { hold_id: hold(index) },
            Request::ExpireHolds => Command::ExpireHolds,
            Request::HoldForOrder(size) => {
                let order_id = OrderId::new(format!("order-{}", opened.hold_count + 1));
                Command::HoldForOrder { order_id, amount: money(size) }
            }
            Request::SettlePurchase(index, parts) => self.settle_purchase(account, hold(index), parts),
            Request::SettleSale(size, fee) => {
                let notional = money(size);
                let fee = Money::from_units(opened.currency(), notional.units() / 255 * i128::from(*fee))
                    .expect("no larger than the notional");
                Command::SettleSale {
                    trade_id: read("BTC-USD.1"),
                    order_id: read("sell"),
                    counterparty: Party::PAPER_VENUE,
                    notional,
                    fee,
                }
            }
            Request::ReleaseOrderHold(index) => Command::ReleaseOrderHold { hold_id: hold(index) },
            Request::SetOverdraftLimit(size) => {
                Command::SetOverdraftLimit { limit: number(size), reason: reference }
            }
            Request::Freeze => Command::Freeze { reason: "generated".into() },
            Request::Unfreeze => Command::Unfreeze { reason: "generated".into() },
            Request::Close => Command::Close { reason: "generated".into() },
            Request::OpenAgain => self.open(account),
        };
        vec![(account, command)]
    }

    /// Both legs of a transfer, the second with what the first decided.
    fn transfer(&self, from: usize, to: usize, amount: Decimal) -> Vec<(usize, Command)> {
        let first = Command::SendTransfer {
            to: read(NAMES[to]),
            amount,
            reference: Some("rent".into()),
            effective_at: None,
        };
        let sent =
            self.accounts[from].decide(&first, self.now).ok().and_then(|events| events.last().cloned());
        let second = match sent {
            Some(Event::TransferSent { transfer_id, amount, reference, effective_at, .. }) => {
                vec![(
                    to,
                    Command::ReceiveTransfer {
                        transfer_id,
                        from: read(NAMES[from]),
                        amount,
                        reference,
                        effective_at,
                    },
                )]
            }
            _ => Vec::new(),
        };
        [vec![(from, first)], second].concat()
    }

    fn capture(
        &self,
        from: usize,
        hold_id: HoldId,
        to: usize,
        amount: Option<Decimal>,
    ) -> Vec<(usize, Command)> {
        let first = Command::CaptureHold { hold_id, to: read(NAMES[to]), amount };
        let captured =
            self.accounts[from].decide(&first, self.now).ok().and_then(|events| events.last().cloned());
        let second = match captured {
            Some(Event::HoldCaptured { transfer_id, amount, .. }) => vec![(
                to,
                Command::ReceiveTransfer {
                    transfer_id,
                    from: read(NAMES[from]),
                    amount,
                    reference: None,
                    effective_at: None,
                },
            )],
            _ => Vec::new(),
        };
        [vec![(from, first)], second].concat()
    }

    /// Splits what the hold holds into notional, fee and rest by three weights; weights of 255 ask for too much.
    fn settle_purchase(&self, account: usize, hold_id: HoldId, weights: &[u8; 3]) -> Command {
        let opened = self.accounts[account].opened().expect("all are open");
        let hold = opened.holds.get(&hold_id);
        let held = hold.map_or(100, |hold| hold.remaining.units());
        let order_id = hold.and_then(|hold| hold.order_id.clone()).unwrap_or_else(|| read("nobody"));
        let whole: i128 = weights.iter().map(|weight| i128::from(*weight)).sum::<i128>().max(1);
        let part = |weight: u8| {
            let more = i128::from(weight == 255);
            Money::from_units(opened.currency(), held / whole * i128::from(weight) + more)
                .expect("within the hold")
        };
        Command::SettlePurchase {
            trade_id: read("BTC-USD.1"),
            order_id,
            hold_id,
            counterparty: Party::PAPER_VENUE,
            notional: part(weights[0]),
            fee: part(weights[1]),
            hold_remaining: part(weights[2]),
        }
    }

    fn assert_invariants(&self) {
        self.ledger.assert_balanced();
        for (account, name) in self.accounts.iter().zip(NAMES) {
            let account = account.opened().expect("all are open");
            let id = &account.account_id;
            let booked = self.ledger.balances.get(&(name.to_owned(), account.currency()));
            assert_eq!(
                BigInt::from(account.balance.units()),
                booked.cloned().unwrap_or_default(),
                "the balance of {id} is what its entries sum to"
            );
            let total = |side: &BTreeMap<String, BigInt>| side.get(name).cloned().unwrap_or_default();
            assert_eq!(
                BigInt::from(account.balance.units()),
                total(&self.ledger.credits) - total(&self.ledger.debits)
            );
            let held: BigInt = account.holds.values().map(|hold| BigInt::from(hold.remaining.units())).sum();
            assert_eq!(BigInt::from(account.held.units()), held, "{id} holds what its open holds hold");
            assert_eq!(held, self.ledger.held_on(id), "no other hold of {id} is open");
            let available = BigInt::from(account.balance.units()) - held + account.overdraft_limit.units();
            assert!(available >= BigInt::ZERO, "{id} never spends what it has not");
            assert_eq!(account.available().map(|money| money.units().into()), Ok(available));
            let of_orders = account.holds.values().filter(|hold| hold.order_id.is_some()).count();
            assert_eq!(account.order_hold_count, of_orders);
            let expiring = account.holds.iter().filter_map(|(id, hold)| Some((hold.expires_at?, id.clone())));
            assert_eq!(account.expiries.iter().cloned().collect::<BTreeSet<_>>(), expiring.collect());
            if account.status == AccountStatus::Closed {
                assert!(
                    account.balance.is_zero()
                        && account.holds.is_empty()
                        && account.overdraft_limit.is_zero()
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(property(250))]

    #[test]
    fn whatever_is_asked_the_books_balance_and_nobody_overspends(steps in steps()) {
        let mut bank = Bank::new();
        for step in &steps {
            bank.step(step);
        }
        for stream in &bank.streams {
            assert_replays_from_every_cut::<Account>(stream);
        }
    }

    #[test]
    fn expiring_twice_changes_nothing_more(steps in steps(), later in 0i64..7_200) {
        let mut bank = Bank::new();
        for step in &steps {
            bank.step(step);
        }
        bank.now += Duration::seconds(later);
        for account in &mut bank.accounts {
            let Ok(events) = account.decide(&Command::ExpireHolds, bank.now) else { continue };
            events.iter().for_each(|event| Decider::apply(account, event));
            prop_assert_eq!(account.decide(&Command::ExpireHolds, bank.now), Ok(Vec::new()));
            let opened = account.opened().expect("all are open");
            prop_assert!(opened.holds.values().all(|hold| hold.expires_at.is_none_or(|at| at > bank.now)));
        }
    }
}

/// A property that generates nothing interesting proves nothing: over the fixed cases every refusal of an account must occur.
#[test]
fn the_generated_commands_meet_every_refusal() {
    let mut runner = proptest::test_runner::TestRunner::new_with_rng(
        property(1),
        proptest::test_runner::TestRng::from_seed(proptest::test_runner::RngAlgorithm::ChaCha, &[7; 32]),
    );
    let mut met = BTreeSet::new();
    for _ in 0..200 {
        let steps = steps().new_tree(&mut runner).expect("steps can be generated").current();
        let mut bank = Bank::new();
        steps.iter().for_each(|step| bank.step(step));
        met.append(&mut bank.codes);
    }
    let expected = [
        Code::AlreadyExists,
        Code::AmountNotPositive,
        Code::AmountOutOfRange,
        Code::TooManyDecimals,
        Code::AccountFrozen,
        Code::AccountNotFrozen,
        Code::AccountClosed,
        Code::AccountNotEmpty,
        Code::InsufficientFunds,
        Code::CurrencyMismatch,
        Code::SameAccount,
        Code::OverdraftInUse,
        Code::EffectiveInFuture,
        Code::ExpiryInPast,
        Code::HoldNotFound,
        Code::HoldNotOpen,
        Code::HoldBelongsToOrder,
        Code::CaptureExceedsHold,
        Code::FillOutOfBounds,
    ];
    let missing: Vec<Code> = expected.into_iter().filter(|code| !met.contains(code)).collect();
    assert_eq!(missing, [], "met only {met:?}");
}
