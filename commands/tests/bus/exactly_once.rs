//! Exactly once, against a model: requests, retries, twins, linked sets, lost answers, broken connections and restarts in
//! any order have the effects and the answers that a book of keys says.

use std::collections::HashMap;

use commands::bus::BusSettings;
use commands::testing::{TestBus, deposit, request, withdraw};
use commands::{Failure, Outcome, Principal, Receipt, Request, Role};
use domain::Code;
use domain::ids::AccountId;
use event_store::LogPosition;
use futures::future::{FutureExt, join_all};
use futures::poll;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::{count, count_of, kill_appender};

/// One request: whose, under which key, and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Ask {
    principal: usize,
    key: usize,
    /// Cents; below zero is a withdrawal.
    cents: i64,
}

/// What clients and the world do.
#[derive(Clone, Debug)]
enum Step {
    /// Requests in one call.
    Call(Vec<Ask>),
    /// Requests as one unit of work.
    Linked(Vec<Ask>),
    /// The same request so many times at once.
    Twins(Ask, usize),
    /// A client goes away without its answer, then asks again.
    Lost(Ask),
    /// The connections that append break during a call.
    Broken(Vec<Ask>),
    /// The bus ends in order and begins anew.
    Restart,
}

fn ask() -> impl Strategy<Value = Ask> {
    // Few keys, so that they meet; sums that are sometimes covered.
    (0..2usize, 0..9usize, prop_oneof![Just(100), Just(250), Just(-100), Just(-300)])
        .prop_map(|(principal, key, cents)| Ask { principal, key, cents })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => vec(ask(), 1..6).prop_map(Step::Call),
        3 => vec(ask(), 1..4).prop_map(Step::Linked),
        2 => (ask(), 2..16usize).prop_map(|(ask, count)| Step::Twins(ask, count)),
        2 => ask().prop_map(Step::Lost),
        1 => vec(ask(), 1..6).prop_map(Step::Broken),
        1 => Just(Step::Restart),
    ]
}

/// What a key was used for: the requests decided together, and the place among them.
type Use = (Vec<Ask>, usize);

/// What the model says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Accepted,
    Refused(Code),
}

/// The book of keys, and the account.
#[derive(Default)]
struct Model {
    keys: HashMap<(usize, usize), (Use, Said, Option<LogPosition>)>,
    cents: i64,
    effects: i64,
}

impl Model {
    fn apply(&mut self, ask: Ask) -> Said {
        if self.cents + ask.cents < 0 {
            return Said::Refused(Code::InsufficientFunds);
        }
        self.cents += ask.cents;
        self.effects += 1;
        Said::Accepted
    }

    /// What is to be answered, and whether it is a replay.
    fn unit(&mut self, set: &[Ask]) -> Vec<(Said, bool)> {
        let conflict = vec![(Said::Refused(Code::IdempotencyConflict), false); set.len()];
        let place = |ask: &Ask| (ask.principal, ask.key);
        if set.iter().enumerate().any(|(n, ask)| set[..n].iter().any(|other| place(other) == place(ask))) {
            return conflict;
        }
        let known: Vec<_> = set.iter().map(|ask| self.keys.get(&place(ask)).cloned()).collect();
        if known.iter().any(Option::is_some) {
            let same = known
                .iter()
                .enumerate()
                .all(|(n, known)| known.as_ref().is_none_or(|(used, ..)| *used == (set.to_vec(), n)));
            let refused = known.iter().flatten().all(|(_, said, _)| *said != Said::Accepted);
            if !same || (!refused && known.iter().any(Option::is_none)) {
                return conflict;
            }
            let said = |known: Option<(Use, Said, Option<LogPosition>)>| {
                (known.map_or(Said::Refused(Code::LinkedFailed), |(_, said, _)| said), true)
            };
            return known.into_iter().map(said).collect();
        }
        let before = (self.cents, self.effects);
        let mut said: Vec<Said> = set.iter().map(|ask| self.apply(*ask)).collect();
        if said.iter().any(|said| *said != Said::Accepted) {
            (self.cents, self.effects) = before;
            for said in said.iter_mut().filter(|said| **said == Said::Accepted) {
                *said = Said::Refused(Code::LinkedFailed);
            }
        }
        for (n, (ask, said)) in set.iter().zip(&said).enumerate() {
            if *said != Said::Refused(Code::LinkedFailed) {
                self.keys.insert(place(ask), ((set.to_vec(), n), *said, None));
            }
        }
        said.into_iter().map(|said| (said, false)).collect()
    }

    /// Holds an answer against what the model says. Whoever has lost an answer cannot know whether it was the first.
    fn check(&mut self, ask: Ask, reply: &Result<Receipt, Failure>, said: (Said, bool), knows_first: bool) {
        let receipt = reply.as_ref().unwrap_or_else(|failure| panic!("{ask:?}: {failure}"));
        let got = match &receipt.outcome {
            Outcome::Accepted(_) => Said::Accepted,
            Outcome::Refused(refusal) => Said::Refused(refusal.code),
        };
        assert_eq!(got, said.0, "{ask:?}");
        if knows_first {
            assert_eq!(receipt.replayed, said.1, "{ask:?}: {receipt:?}");
        }
        assert_eq!(receipt.log_position.is_some(), got == Said::Accepted, "{ask:?}");
        if got == Said::Accepted
            && let Some((_, _, position)) = self.keys.get_mut(&(ask.principal, ask.key))
        {
            assert_eq!(*position.get_or_insert(receipt.log_position.unwrap()), receipt.log_position.unwrap());
        }
    }
}

fn requests(account: &AccountId, set: &[Ask]) -> Vec<Request> {
    let principals =
        ["first", "second"].map(|name| Principal { name: name.into(), role: Role::Admin, owner: None });
    let one = |ask: &Ask| {
        let amount = format!("{}.{:02}", ask.cents.abs() / 100, ask.cents.abs() % 100);
        let command = if ask.cents < 0 { withdraw(account, &amount) } else { deposit(account, &amount) };
        request(&principals[ask.principal], &format!("key-{}", ask.key), command)
    };
    set.iter().map(one).collect()
}

/// Asks until there is an answer to each; whether a failure came first.
async fn settle(house: &TestBus, asked: &[Request], linked: bool) -> (Vec<Result<Receipt, Failure>>, bool) {
    let mut failed = false;
    loop {
        let replies = if linked {
            house.bus.execute_linked(asked.to_vec()).await
        } else {
            house.bus.execute_all(asked.to_vec()).await
        };
        if !replies.contains(&Err(Failure::Unavailable)) {
            return (replies, failed);
        }
        failed = true;
    }
}

async fn take(mut house: TestBus, account: &AccountId, model: &mut Model, step: &Step) -> TestBus {
    match step {
        Step::Call(set) | Step::Broken(set) => {
            let asked = requests(account, set);
            let breaks = matches!(step, Step::Broken(_));
            let broken = async {
                if breaks {
                    kill_appender(&house).await;
                }
            };
            let ((replies, failed), ()) = tokio::join!(settle(&house, &asked, false), broken);
            for (ask, reply) in set.iter().zip(&replies) {
                let said = model.unit(&[*ask]).remove(0);
                model.check(*ask, reply, said, !failed);
            }
        }
        Step::Linked(set) => {
            let (replies, failed) = settle(&house, &requests(account, set), true).await;
            for ((ask, reply), said) in set.iter().zip(&replies).zip(model.unit(set)) {
                model.check(*ask, reply, said, !failed);
            }
        }
        Step::Twins(ask, count) => {
            let asked = requests(account, &[*ask]).remove(0);
            let replies = join_all((0..*count).map(|_| house.bus.execute(asked.clone()))).await;
            let first = model.unit(&[*ask]).remove(0);
            let firsts = replies.iter().flatten().filter(|receipt| !receipt.replayed).count();
            let is_conflict = first.0 == Said::Refused(Code::IdempotencyConflict);
            let expected = if is_conflict { *count } else { usize::from(!first.1) };
            assert_eq!(firsts, expected, "{ask:?}");
            replies.iter().for_each(|reply| model.check(*ask, reply, first, false));
        }
        Step::Lost(ask) => {
            let asked = requests(account, &[*ask]).remove(0);
            let mut lost = house.bus.execute(asked.clone()).boxed();
            let _ = poll!(&mut lost);
            drop(lost);
            let reply = house.bus.execute(asked).await;
            let said = model.unit(&[*ask]).remove(0);
            model.check(*ask, &reply, said, false);
        }
        Step::Restart => house = house.restart(BusSettings::default()).await,
    }
    house
}

#[test]
fn every_request_has_one_effect_and_one_answer_whatever_happens_in_between() {
    let cases = std::env::var("DAYBOOK_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(8);
    let config = Config { cases, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[11; 32]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let result = TestRunner::new_with_rng(config, rng).run(&vec(step(), 1..30), |steps| {
        runtime.block_on(async {
            let mut house = TestBus::start().await;
            let account = house.open_account("alice", "EUR").await;
            let mut model = Model::default();
            for step in &steps {
                house = take(house, &account, &mut model, step).await;
            }
            // What is in the log, and under the keys, is what the model says.
            let effects = count_of(&house, "FundsDeposited").await + count_of(&house, "FundsWithdrawn").await;
            assert_eq!(effects, model.effects);
            assert_eq!(count(&house, "idempotency_keys").await, model.keys.len() as i64 + 1);
            let amount = |cents: i64| format!("{}.{:02}", cents / 100, cents % 100);
            let refused = house
                .refused(&commands::testing::admin(), withdraw(&account, &amount(model.cents + 1)))
                .await;
            assert_eq!(refused, Code::InsufficientFunds);
            if model.cents > 0 {
                house.accepted(&commands::testing::admin(), withdraw(&account, &amount(model.cents))).await;
            }
            house.bus.stop().await;
        });
        Ok(())
    });
    result.unwrap();
}
