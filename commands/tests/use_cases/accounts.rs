//! Money between accounts.

use commands::request::{
    AccountStatusChange, CaptureHold, OpenAccount, OpenPortfolio, PlaceHold, ReleaseHold, SetOverdraftLimit,
    Transfer,
};
use commands::{Command, Role};
use domain::account::AccountKind;
use domain::ids::AccountId;
use domain::{Code, Decimal};

use crate::{House, dec, movement, of_role, trader};

fn transfer(from: &AccountId, to: &AccountId, amount: &str) -> Command {
    Command::Transfer(Transfer {
        from: from.clone(),
        to: to.clone(),
        amount: dec(amount),
        reference: None,
        effective_at: None,
    })
}

#[test]
fn a_transfer_moves_money_and_names_both_sides_in_one_unit() {
    let mut house = House::new();
    let (alice, bob) = (house.open_account("alice", "USD", "100"), house.open_account("bob", "USD", "0"));
    let before = house.events.len();
    let answer = house.run(&trader("alice"), transfer(&alice, &bob, "30.50")).unwrap();

    assert_eq!(house.account(&alice).balance.to_string(), "69.50 USD");
    assert_eq!(house.account(&bob).balance.to_string(), "30.50 USD");
    let types: Vec<_> = house.events[before..].iter().map(|event| event.event.name()).collect();
    assert_eq!(types, ["TransferSent", "TransferReceived"]);
    assert_eq!(answer.movement_id.unwrap().as_str(), format!("{alice}.m2"));
}

#[test]
fn a_transfer_whose_second_leg_is_refused_leaves_the_first_account_as_it_was() {
    let mut house = House::new();
    let (alice, euro) = (house.open_account("alice", "USD", "100"), house.open_account("bob", "EUR", "0"));
    let before = house.account(&alice);
    let nobody = AccountId::new("nobody");

    assert_eq!(house.refused(&trader("alice"), transfer(&alice, &euro, "1")), Code::CurrencyMismatch);
    assert_eq!(house.refused(&trader("alice"), transfer(&alice, &nobody, "1")), Code::AccountNotFound);
    assert_eq!(house.refused(&trader("alice"), transfer(&alice, &alice, "1")), Code::SameAccount);
    assert_eq!(house.refused(&trader("alice"), transfer(&alice, &euro, "100.01")), Code::InsufficientFunds);
    assert_eq!(house.account(&alice), before);
}

#[test]
fn nobody_touches_the_accounts_of_another_owner() {
    let mut house = House::new();
    let (alice, bob) = (house.open_account("alice", "USD", "100"), house.open_account("bob", "USD", "0"));
    let hold = Command::PlaceHold(PlaceHold {
        account_id: alice.clone(),
        amount: dec("1"),
        expires_at: None,
        reference: None,
    });
    let held = house.run(&trader("alice"), hold.clone()).unwrap().hold_id.unwrap();
    let portfolio = Command::OpenPortfolio(OpenPortfolio {
        owner: "bob".into(),
        name: "main".into(),
        cash_account_id: alice.clone(),
    });
    let close =
        Command::CloseAccount(AccountStatusChange { account_id: alice.clone(), reason: "gone".into() });

    for command in [
        transfer(&alice, &bob, "1"),
        hold,
        Command::CaptureHold(CaptureHold { hold_id: held.clone(), to: bob, amount: None }),
        Command::ReleaseHold(ReleaseHold { hold_id: held }),
        portfolio,
        close,
    ] {
        assert_eq!(house.refused(&trader("bob"), command), Code::Forbidden);
    }
}

#[test]
fn an_account_is_opened_for_oneself_and_without_overdraft() {
    let mut house = House::new();
    let open = |owner: &str, overdraft: &str| {
        Command::OpenAccount(OpenAccount {
            owner: owner.into(),
            currency: "USD".parse().unwrap(),
            kind: AccountKind::Current,
            overdraft_limit: dec(overdraft),
        })
    };
    assert_eq!(house.refused(&trader("alice"), open("bob", "0")), Code::Forbidden);
    assert_eq!(house.refused(&trader("alice"), open("alice", "10")), Code::Forbidden);
    assert_eq!(house.refused(&of_role(Role::Operator), open("alice", "0")), Code::Forbidden);
    let answer = house.run(&of_role(Role::Admin), open("alice", "10")).unwrap();
    assert_eq!(house.account(&answer.account_id.unwrap()).available().unwrap().to_string(), "10.00 USD");
}

#[test]
fn a_partial_capture_pays_and_frees_the_rest_in_one_unit() {
    let mut house = House::new();
    let (alice, bob) = (house.open_account("alice", "USD", "100"), house.open_account("bob", "USD", "0"));
    let hold = PlaceHold { account_id: alice.clone(), amount: dec("40"), expires_at: None, reference: None };
    let hold_id = house.run(&trader("alice"), Command::PlaceHold(hold)).unwrap().hold_id.unwrap();
    let capture = CaptureHold { hold_id: hold_id.clone(), to: bob.clone(), amount: Some(dec("15")) };
    house.run(&trader("alice"), Command::CaptureHold(capture.clone())).unwrap();

    let account = house.account(&alice);
    assert_eq!(
        (account.balance.to_string(), account.held.to_string()),
        ("85.00 USD".into(), "0.00 USD".into())
    );
    assert_eq!(house.account(&bob).balance.to_string(), "15.00 USD");
    assert_eq!(house.refused(&trader("alice"), Command::CaptureHold(capture)), Code::HoldNotOpen);
}

#[test]
fn a_due_hold_is_expired_by_the_next_command_on_its_account() {
    let mut house = House::new();
    let alice = house.open_account("alice", "USD", "100");
    let expires_at = Some(house.now + chrono::Duration::seconds(60));
    let hold = PlaceHold { account_id: alice.clone(), amount: dec("100"), expires_at, reference: None };
    house.run(&trader("alice"), Command::PlaceHold(hold)).unwrap();
    let withdraw = Command::Withdraw(movement(&alice, "100"));

    house.tick(59);
    assert_eq!(house.refused(&of_role(Role::Operator), withdraw.clone()), Code::InsufficientFunds);
    house.tick(1);
    house.run(&of_role(Role::Operator), withdraw).unwrap();
    assert!(house.account(&alice).balance.is_zero());
}

#[test]
fn a_frozen_account_moves_nothing_until_it_is_unfrozen() {
    let mut house = House::new();
    let (alice, bob) = (house.open_account("alice", "USD", "100"), house.open_account("bob", "USD", "50"));
    let change = AccountStatusChange { account_id: alice.clone(), reason: "inquiry".into() };
    let freeze = Command::FreezeAccount(change.clone());
    assert_eq!(house.refused(&of_role(Role::Operator), freeze.clone()), Code::Forbidden);
    house.run(&of_role(Role::Compliance), freeze).unwrap();

    assert_eq!(house.refused(&trader("alice"), transfer(&alice, &bob, "1")), Code::AccountFrozen);
    assert_eq!(house.refused(&trader("bob"), transfer(&bob, &alice, "1")), Code::AccountFrozen);
    house.run(&of_role(Role::Compliance), Command::UnfreezeAccount(change)).unwrap();
    house.run(&trader("alice"), transfer(&alice, &bob, "1")).unwrap();
}

#[test]
fn an_overdraft_lets_the_balance_below_zero_and_no_further() {
    let mut house = House::new();
    let (alice, bob) = (house.open_account("alice", "USD", "10"), house.open_account("bob", "USD", "0"));
    let set = |limit: &str| {
        Command::SetOverdraftLimit(SetOverdraftLimit {
            account_id: alice.clone(),
            limit: dec(limit),
            reason: None,
        })
    };
    assert_eq!(house.refused(&trader("alice"), set("50")), Code::Forbidden);
    house.run(&of_role(Role::Risk), set("50")).unwrap();
    house.run(&trader("alice"), transfer(&alice, &bob, "60")).unwrap();
    assert_eq!(house.refused(&trader("alice"), transfer(&alice, &bob, "0.01")), Code::InsufficientFunds);
    assert_eq!(house.refused(&of_role(Role::Risk), set("49.99")), Code::OverdraftInUse);
    assert_eq!(house.account(&alice).available().unwrap().to_decimal(), Decimal::ZERO);
}
