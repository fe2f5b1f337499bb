//! Accounts: every command and every refusal, given / when / then.

#[path = "../common/mod.rs"]
mod common;
mod words;

mod holds;
mod movements;
mod order_holds;
mod status;

use words::*;

#[test]
fn the_test_framework_of_cqrs_es_tells_the_same() {
    let framework = || cqrs_es::test::TestFramework::<Account>::with(());
    framework()
        .given(vec![opened(), deposited(1, "100.00"), held_until(1, "60.00", Some(noon_plus(10)))])
        .when((withdraw("100"), noon_plus(10)))
        .then_expect_events(vec![expired(1, "60.00"), withdrawn(2, "100.00")]);
    framework()
        .given(vec![opened()])
        .when((withdraw("1"), noon()))
        .then_expect_error_message("INSUFFICIENT_FUNDS: 0.00 USD is available, which is less than 1.00 USD");
}
