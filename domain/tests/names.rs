//! Names of things and text from outside.

mod common;

use common::{read, through_json};
use domain::Code;
use domain::ids::{AccountId, HoldId, MovementId, OrderId, Party, PortfolioId, Symbol, TradeId};
use domain::text::{MAX_NAME, MAX_REFERENCE, clean, clean_name};

#[test]
fn an_id_is_short_and_plain_and_what_is_not_names_nothing() {
    for text in ["", " ", "a b", "a/b", "é", "a\0", "a\n", "'; DROP TABLE events", &"x".repeat(97)] {
        let code = |refusal: domain::Refusal| refusal.code;
        assert_eq!(text.parse::<AccountId>().map_err(code), Err(Code::AccountNotFound), "{text:?}");
        assert_eq!(text.parse::<PortfolioId>().map_err(code), Err(Code::PortfolioNotFound), "{text:?}");
        assert_eq!(text.parse::<OrderId>().map_err(code), Err(Code::OrderNotFound), "{text:?}");
        assert_eq!(text.parse::<Symbol>().map_err(code), Err(Code::MarketNotFound), "{text:?}");
        assert_eq!(text.parse::<HoldId>().map_err(code), Err(Code::HoldNotFound), "{text:?}");
    }
    assert_eq!(read::<AccountId>(&"x".repeat(96)).as_str().len(), 96);
    assert_eq!(through_json(&read::<TradeId>("BTC-USDT.7")), TradeId::new("BTC-USDT.7"));
}

#[test]
fn an_id_of_something_inside_an_aggregate_names_the_aggregate() {
    let account: AccountId = read("0190a8f2-7b1c-7cc1-8000-00000000000a");
    let hold = HoldId::nth(&account, 12);
    assert_eq!(hold.as_str(), "0190a8f2-7b1c-7cc1-8000-00000000000a.h12");
    assert_eq!((hold.account(), hold.number()), (account.clone(), Some(12)));
    assert_eq!(MovementId::nth(account.as_str(), 3).origin(), account.as_str());
    for text in ["alice", "alice.m1", "alice.h", "alice.hx", "alice.h-1", "alice.h18446744073709551616"] {
        assert_eq!(read::<HoldId>(text).number(), None, "{text}");
    }
}

#[test]
fn parties_outside_have_no_stream() {
    for party in [Party::WORLD, Party::FEES, Party::ROUNDING, Party::PAPER_VENUE] {
        assert!(party.is_outside(), "{party}");
        assert_eq!(through_json(&party), party);
    }
    assert!(!Party::from(&AccountId::new("alice")).is_outside());
    assert!(!Party::from(&PortfolioId::new("folio")).is_outside());
}

#[test]
fn text_is_counted_in_characters_and_holds_no_control_characters() {
    let code = |refusal: domain::Refusal| refusal.code;
    for max in [MAX_NAME, MAX_REFERENCE] {
        for letter in ["x", "é", "語", "🦀"] {
            assert_eq!(clean(letter.repeat(max), max), Ok(letter.repeat(max)));
            assert_eq!(clean(letter.repeat(max + 1), max).map_err(code), Err(Code::InvalidText));
        }
    }
    for text in ["\0", "a\0b", "\n", "a\tb", "\u{1b}[31m", "\u{7f}", "\u{85}"] {
        assert_eq!(clean(text.to_owned(), MAX_NAME).map_err(code), Err(Code::InvalidText), "{text:?}");
    }
    assert_eq!(clean("x".repeat(50_000_000), MAX_REFERENCE).map_err(code), Err(Code::InvalidText));
    assert_eq!(clean(String::new(), MAX_REFERENCE), Ok(String::new()));
}

#[test]
fn a_name_is_not_empty() {
    let code = |refusal: domain::Refusal| refusal.code;
    for text in ["", " ", "\u{a0}\u{2003}"] {
        assert_eq!(clean_name(text.to_owned(), MAX_NAME).map_err(code), Err(Code::InvalidText), "{text:?}");
    }
    assert_eq!(clean_name("Ada Lovelace".to_owned(), MAX_NAME), Ok("Ada Lovelace".to_owned()));
}
