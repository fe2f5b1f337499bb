//! Numbers: exact, or refused. Everything computed is computed again with numbers that have no bounds.

mod common;

use common::{property, read, through_json};
use domain::amount::MAX_UNITS;
use domain::decimal::MAX_SCALE;
use domain::price::Rounding;
use domain::rounding::mul_div;
use domain::{Asset, Code, Decimal, Money, Price, Quantity, Rate, Refusal};
use num_bigint::{BigInt, Sign};
use proptest::prelude::*;

fn code<T>(result: Result<T, Refusal>) -> Option<Code> {
    result.err().map(|refusal| refusal.code)
}

fn usd(units: i128) -> Money {
    Money::from_units(read("USD"), units).expect("within range")
}

// ---- the same again, without bounds

fn power_of_ten(exponent: u32) -> BigInt {
    BigInt::from(10).pow(exponent)
}

/// `numerator / denominator`, rounded; nothing if it had to be exact and is not.
fn divided(numerator: &BigInt, denominator: &BigInt, rounding: Rounding) -> Option<BigInt> {
    let (quotient, rest) = (numerator / denominator, numerator % denominator);
    if rest == BigInt::ZERO {
        return Some(quotient);
    }
    let away = if numerator.sign() == Sign::Minus { BigInt::from(-1) } else { BigInt::from(1) };
    let twice = BigInt::from(rest.magnitude().clone()) * 2;
    match rounding {
        Rounding::Exact => None,
        Rounding::Down => Some(quotient),
        Rounding::Up => Some(quotient + away),
        Rounding::HalfEven if twice < *denominator => Some(quotient),
        Rounding::HalfEven if twice > *denominator => Some(quotient + away),
        Rounding::HalfEven if (&quotient % 2) == BigInt::ZERO => Some(quotient),
        Rounding::HalfEven => Some(quotient + away),
    }
}

fn within(value: &BigInt, bound: i128) -> bool {
    *value.magnitude() <= *BigInt::from(bound).magnitude()
}

// ---- generators that favour the edges

fn units() -> impl Strategy<Value = i128> {
    prop_oneof![
        4 => prop_oneof![
            Just(0), Just(1), Just(-1), Just(2), Just(5), Just(10),
            Just(MAX_UNITS), Just(-MAX_UNITS), Just(MAX_UNITS - 1), Just(MAX_UNITS + 1),
            Just(i128::MAX), Just(i128::MIN), Just(i128::MAX - 1), Just(i128::MIN + 1),
            Just(i128::from(u64::MAX)), Just(i128::from(u64::MAX) + 1), Just(1 << 126),
        ],
        3 => any::<i32>().prop_map(i128::from),
        3 => (any::<i128>(), 0u32..127).prop_map(|(value, shift)| value >> shift),
    ]
}

fn amount_units() -> impl Strategy<Value = i128> {
    units().prop_map(|units| units.clamp(-MAX_UNITS, MAX_UNITS))
}

fn rounding() -> impl Strategy<Value = Rounding> {
    prop_oneof![Just(Rounding::Down), Just(Rounding::Up), Just(Rounding::HalfEven), Just(Rounding::Exact)]
}

/// Assets of every scale there is.
fn asset() -> impl Strategy<Value = Asset> {
    prop_oneof![Just("JPY"), Just("USD"), Just("KWD"), Just("CLF"), Just("USDT"), Just("BTC")].prop_map(read)
}

fn price() -> impl Strategy<Value = Price> {
    let number = (1i128..1_000_000_000_000, 0u8..=12).prop_map(|(units, scale)| Decimal::new(units, scale));
    let edge = prop_oneof![
        Just(Decimal::new(1, 12)),
        Just(Decimal::new(domain::price::MAX_UNITS, 12)),
        Just(Decimal::new(6_183_763, 2)),
    ];
    prop_oneof![3 => number, 1 => edge]
        .prop_map(|number| Price::from_decimal(number).expect("above zero and within range"))
}

fn price_units(price: Price) -> BigInt {
    BigInt::from(price.to_decimal().units_at(12).expect("prices have twelve digits at most"))
}

fn rate() -> impl Strategy<Value = Rate> {
    let millionths = prop_oneof![Just(0), Just(1), Just(100_000), Just(100_000_000), 0i128..=100_000_000];
    millionths.prop_map(|units| Rate::from_fraction(Decimal::new(units, 8)).expect("from 0 to 1"))
}

proptest! {
    #![proptest_config(property(2_000))]

    #[test]
    fn a_product_is_divided_and_rounded_once(
        factor in units(), other in units(), divisor in units(), rounding in rounding(),
    ) {
        let answer = mul_div(factor, other, divisor, rounding);
        if divisor <= 0 {
            prop_assert_eq!(code(answer), Some(Code::AmountOutOfRange));
            return Ok(());
        }
        let product = BigInt::from(factor) * BigInt::from(other);
        match divided(&product, &BigInt::from(divisor), rounding) {
            Some(expected) if within(&expected, i128::MAX) => prop_assert_eq!(answer.map(BigInt::from), Ok(expected)),
            Some(_) => prop_assert_eq!(code(answer), Some(Code::AmountOutOfRange)),
            // Inexact and out of range at once: either reason is true.
            None => prop_assert!(answer.is_err()),
        }
    }

    #[test]
    fn a_decimal_reads_as_it_was_written(units in units(), scale in 0u8..=MAX_SCALE) {
        let number = Decimal::new(units, scale);
        prop_assert_eq!(read::<Decimal>(&number.to_string()), number);
        prop_assert_eq!(through_json(&number), number);
        // Equal numbers are equal values.
        if let Some(tenfold) = units.checked_mul(10) {
            prop_assert_eq!(Decimal::new(tenfold, scale + 1), number);
        }
    }

    #[test]
    fn an_amount_is_written_at_its_scale(units in -MAX_UNITS..=MAX_UNITS, asset in "JPY|USD|BHD|BTC") {
        let asset: Asset = read(&asset);
        let amount = Money::from_units(asset, units).expect("within range");
        let digits = format!("{:0>width$}", units.unsigned_abs(), width = usize::from(asset.scale()) + 1);
        let (whole, fraction) = digits.split_at(digits.len() - usize::from(asset.scale()));
        let (sign, point) = (if units < 0 { "-" } else { "" }, if fraction.is_empty() { "" } else { "." });
        prop_assert_eq!(amount.number(), format!("{sign}{whole}{point}{fraction}"));
        prop_assert_eq!(amount.to_string(), format!("{sign}{whole}{point}{fraction} {asset}"));
        prop_assert_eq!(serde_json::to_string(&amount).expect("a text"), format!("\"{amount}\""));
    }

    #[test]
    fn a_text_is_the_number_it_says_or_refused(
        negative: bool, whole in "[0-9]{1,40}", fraction in proptest::option::of("[0-9]{1,20}"),
    ) {
        let sign = if negative { "-" } else { "" };
        let text = match &fraction {
            Some(fraction) => format!("{sign}{whole}.{fraction}"),
            None => format!("{sign}{whole}"),
        };
        let fraction = fraction.unwrap_or_default();
        let significant = fraction.trim_end_matches('0');
        let units: BigInt = format!("{sign}{whole}{significant}").parse().expect("digits");
        let fits = within(&units, i128::MAX) || units == BigInt::from(i128::MIN);
        match text.parse::<Decimal>() {
            Ok(number) => {
                let scale = u8::try_from(significant.len()).expect("few digits");
                prop_assert!(fits && scale <= MAX_SCALE);
                prop_assert_eq!(number.units_at(scale).map(BigInt::from), Ok(units));
            }
            Err(refusal) if significant.len() > usize::from(MAX_SCALE) => {
                prop_assert_eq!(refusal.code, Code::TooManyDecimals);
            }
            Err(refusal) => {
                prop_assert!(!fits);
                prop_assert_eq!(refusal.code, Code::AmountOutOfRange);
            }
        }
    }

    #[test]
    fn no_text_at_all_makes_parsing_panic(text in "\\PC{0,80}") {
        let _ = text.parse::<Decimal>();
        let _ = text.parse::<Money>();
        let _ = text.parse::<Asset>();
        let _ = text.parse::<Price>();
        let _ = text.parse::<Rate>();
    }

    #[test]
    fn sums_and_differences_are_exact_or_refused(a in amount_units(), b in amount_units()) {
        for (answer, exact) in [
            (usd(a).plus(usd(b)), BigInt::from(a) + b),
            (usd(a).minus(usd(b)), BigInt::from(a) - b),
        ] {
            match answer {
                Ok(sum) => prop_assert_eq!(BigInt::from(sum.units()), exact),
                Err(refusal) => {
                    prop_assert_eq!(refusal.code, Code::AmountOutOfRange);
                    prop_assert!(!within(&exact, MAX_UNITS));
                }
            }
        }
        prop_assert_eq!(usd(a).negated().negated(), usd(a));
        prop_assert_eq!(usd(a).is_less_than(usd(b)), Ok(a < b));
        prop_assert_eq!(usd(a).min(usd(b)).map(|least| least.units()), Ok(a.min(b)));
        prop_assert_eq!(usd(a).max(usd(b)).map(|most| most.units()), Ok(a.max(b)));
    }

    #[test]
    fn an_amount_reads_as_it_was_written_at_its_assets_scale(asset in asset(), units in amount_units()) {
        let money = Money::from_units(asset, units).expect("within range");
        prop_assert_eq!(through_json(&money), money);
        prop_assert_eq!(Money::from_decimal(asset, money.to_decimal()), Ok(money));
        let digits = money.number().split_once('.').map_or(0, |(_, fraction)| fraction.len());
        prop_assert_eq!(digits, usize::from(asset.scale()));
    }

    #[test]
    fn a_notional_is_price_times_quantity(
        price in price(), quantity in amount_units(), base in asset(), quote in asset(), rounding in rounding(),
    ) {
        let quantity = Quantity::from_units(base, quantity).expect("within range");
        let numerator = price_units(price) * quantity.units() * power_of_ten(quote.scale().into());
        let exact = divided(&numerator, &power_of_ten(12 + u32::from(base.scale())), rounding);
        match (price.notional(quantity, quote, rounding), exact) {
            (Ok(notional), exact) => prop_assert_eq!(Some(BigInt::from(notional.units())), exact),
            (Err(refusal), None) => {
                prop_assert!(matches!(refusal.code, Code::TickAndLotTooFine | Code::AmountOutOfRange));
            }
            (Err(refusal), Some(exact)) => {
                prop_assert_eq!(refusal.code, Code::AmountOutOfRange);
                prop_assert!(!within(&exact, MAX_UNITS));
            }
        }
    }

    #[test]
    fn what_is_affordable_is_within_the_budget_and_one_lot_more_is_not(
        price in price(), budget in 0i128..=1_000_000_000_000_000_000, lot in 1i128..=1_000_000,
        base in asset(), quote in asset(),
    ) {
        let lot = Quantity::from_units(base, lot).expect("within range");
        let budget = Money::from_units(quote, budget).expect("within range");
        let costs = |quantity: BigInt| price_units(price) * quantity * power_of_ten(quote.scale().into());
        let have = BigInt::from(budget.units()) * power_of_ten(12 + u32::from(base.scale()));
        match price.affordable(budget, lot) {
            Ok(quantity) => {
                prop_assert!(quantity.is_multiple_of(lot));
                prop_assert!(costs(BigInt::from(quantity.units())) <= have);
                prop_assert!(costs(BigInt::from(quantity.units() + lot.units())) > have);
            }
            Err(refusal) => {
                prop_assert_eq!(refusal.code, Code::AmountOutOfRange);
                let lots = &have / costs(lot.units().into());
                let too_costly = !within(&costs(lot.units().into()), i128::MAX);
                prop_assert!(too_costly || !within(&(lots * lot.units()), MAX_UNITS));
            }
        }
    }

    #[test]
    fn a_rate_takes_its_part(rate in rate(), amount in amount_units(), rounding in rounding()) {
        let exact = divided(&(BigInt::from(amount) * rate.units()), &BigInt::from(Rate::ONE_UNITS), rounding);
        match rate.of(usd(amount), rounding) {
            Ok(part) => {
                prop_assert_eq!(Some(BigInt::from(part.units())), exact);
                prop_assert!(part.units().abs() <= amount.abs());
            }
            Err(refusal) => {
                prop_assert_eq!(refusal.code, Code::TickAndLotTooFine);
                prop_assert_eq!(exact, None);
            }
        }
        prop_assert_eq!(through_json(&rate), rate);
    }

    #[test]
    fn the_shares_of_a_whole_sum_to_it(cost in amount_units(), parts in proptest::collection::vec(1i128..=1_000_000_000, 1..12)) {
        let quantity = |units: i128| Quantity::from_units(read("BTC"), units).expect("within range");
        let (mut left, mut held, mut taken) = (usd(cost), quantity(parts.iter().sum()), usd(0));
        for part in parts {
            let share = left.share(quantity(part), held, Rounding::HalfEven).expect("a part of the whole");
            let exact = divided(&(BigInt::from(left.units()) * part), &BigInt::from(held.units()), Rounding::HalfEven);
            prop_assert_eq!(Some(BigInt::from(share.units())), exact);
            left = left.minus(share).expect("no larger than what is left");
            held = held.minus(quantity(part)).expect("no more than is held");
            taken = taken.plus(share).expect("no larger than the whole");
        }
        prop_assert_eq!((left, taken), (usd(0), usd(cost)));
    }

    #[test]
    fn a_price_is_within_a_band_exactly_if_it_lies_between_the_moved_prices(
        reference in price(), band in 0i64..=100_000_000, beside in -2i128..=2,
    ) {
        let one = i64::from(Rate::ONE_UNITS);
        let reference_units = price_units(reference);
        // Prices around each end of the band: the end itself may lie between two prices.
        let around = |factor: i64| {
            let units = i128::try_from(&reference_units * factor / one).expect("at most twice the largest");
            Price::from_decimal(Decimal::new(units + beside, 12)).ok()
        };
        if let (Ok(upper), Some(other)) = (reference.moved_by(band), around(one + band)) {
            prop_assert_eq!(other <= upper, price_units(other) * one <= &reference_units * (one + band));
        }
        let lower = reference.moved_by(-band).expect("a smaller price is in range");
        if let Some(other) = around(one - band) {
            prop_assert_eq!(other >= lower, price_units(other) * one >= &reference_units * (one - band));
        }
    }

    #[test]
    fn prices_go_to_the_neighbouring_ticks(price in price(), tick in price()) {
        let floor = price.floor_to(tick);
        prop_assert!(floor.is_multiple_of(tick) && floor <= price);
        prop_assert!(price_units(price) - price_units(floor) < price_units(tick));
        match price.ceil_to(tick) {
            Ok(ceiling) => {
                prop_assert!(ceiling.is_multiple_of(tick) && ceiling >= price);
                prop_assert!(price_units(ceiling) - price_units(price) < price_units(tick));
                prop_assert_eq!(through_json(&ceiling), ceiling);
            }
            Err(refusal) => {
                prop_assert_eq!(refusal.code, Code::AmountOutOfRange);
                prop_assert!(!within(&(price_units(floor) + price_units(tick)), domain::price::MAX_UNITS));
            }
        }
    }
}

// ---- cases worth naming

#[test]
fn decimals_are_read_strictly() {
    for (text, number) in [
        ("0", "0"),
        ("-0", "0"),
        ("-0.000", "0"),
        ("007.50", "7.5"),
        ("-12.50", "-12.5"),
        ("1.000000000000000000000000", "1"),
        ("0.000000000000000001", "0.000000000000000001"),
        ("170141183460469231731687303715884105727", "170141183460469231731687303715884105727"),
        ("-170141183460469231731687303715884105728", "-170141183460469231731687303715884105728"),
    ] {
        assert_eq!(read::<Decimal>(text).to_string(), number, "{text}");
    }
    for text in [
        "", "-", ".", ".5", "5.", "+1", "1e5", "1E5", "1_000", "1,000", " 1", "1 ", "--1", "1.2.3", "0x10",
        "NaN", "٣", "１", "1\0",
    ] {
        assert_eq!(code(text.parse::<Decimal>()), Some(Code::InvalidAmount), "{text:?}");
    }
    for text in ["170141183460469231731687303715884105728", &"9".repeat(64), &"9".repeat(1_000_000)] {
        assert_eq!(code(text.parse::<Decimal>()), Some(Code::AmountOutOfRange));
    }
    assert_eq!(code("0.0000000000000000001".parse::<Decimal>()), Some(Code::TooManyDecimals));
}

#[test]
fn a_number_in_json_is_a_string_and_never_a_float() {
    assert_eq!(serde_json::to_string(&read::<Decimal>("12.50")).unwrap(), r#""12.5""#);
    assert!(serde_json::from_str::<Decimal>("12.5").is_err());
    assert!(serde_json::from_str::<Money>("12.5").is_err());
    assert!(serde_json::from_str::<Price>("12.5").is_err());
    assert!(serde_json::from_str::<Rate>("0.5").is_err());
}

#[test]
fn a_decimal_of_any_scale_can_be_written() {
    assert_eq!(Decimal::new(-1, 40).to_string(), format!("-0.{}1", "0".repeat(39)));
    assert_eq!(Decimal::new(1, u8::MAX).to_string().len(), 2 + 255);
    assert_eq!(Decimal::new(i128::MIN, 0).to_string(), i128::MIN.to_string());
    assert_eq!(code(Decimal::new(1, 0).units_at(u8::MAX)), Some(Code::AmountOutOfRange));
}

#[test]
fn an_amount_is_at_its_assets_scale_within_its_range_and_of_its_asset() {
    assert_eq!(read::<Money>("-0.05 USD").to_string(), "-0.05 USD");
    assert_eq!(read::<Money>("5 JPY").to_string(), "5 JPY");
    assert_eq!(read::<Quantity>("0.5 BTC").to_string(), "0.50000000 BTC");
    assert_eq!(code("0.005 USD".parse::<Money>()), Some(Code::TooManyDecimals));
    assert_eq!(code("0.5 JPY".parse::<Money>()), Some(Code::TooManyDecimals));
    assert_eq!(code("5USD".parse::<Money>()), Some(Code::InvalidAmount));
    assert_eq!(code("5  USD".parse::<Money>()), Some(Code::UnknownAsset));
    assert_eq!(code(Money::from_units(read("USD"), MAX_UNITS + 1)), Some(Code::AmountOutOfRange));
    assert_eq!(code(Money::from_units(read("USD"), i128::MIN)), Some(Code::AmountOutOfRange));
    assert_eq!(code(usd(1).plus(read("1.00 EUR"))), Some(Code::CurrencyMismatch));
    assert_eq!(code(usd(1).minus(read("1.00 EUR"))), Some(Code::CurrencyMismatch));
    assert_eq!(code(usd(1).is_less_than(read("1.00 EUR"))), Some(Code::CurrencyMismatch));
    assert_eq!(code(Money::positive(read("USD"), Decimal::ZERO)), Some(Code::AmountNotPositive));
}

#[test]
fn lots_divide_quantities_of_their_own_asset() {
    let (quantity, lot): (Quantity, Quantity) = (read("0.00012345 BTC"), read("0.00001000 BTC"));
    assert!(!quantity.is_multiple_of(lot));
    assert_eq!(quantity.floor_to(lot), Ok(read("0.00012000 BTC")));
    assert!(quantity.floor_to(lot).unwrap().is_multiple_of(lot));
    assert!(!quantity.is_multiple_of(Quantity::zero(read("BTC"))));
    assert!(!quantity.is_multiple_of(read("0.00012345 ETH")));
    assert_eq!(quantity.floor_to(Quantity::zero(read("BTC"))), Ok(quantity));
    assert_eq!(code(quantity.floor_to(read("1 ETH"))), Some(Code::CurrencyMismatch));
}

#[test]
fn a_share_needs_a_whole_of_the_same_asset() {
    let quantity = |text: &str| read::<Quantity>(text);
    let share = |part: &str, whole: &str| usd(100).share(quantity(part), quantity(whole), Rounding::HalfEven);
    assert_eq!(share("1 BTC", "3 BTC"), Ok(usd(33)));
    assert_eq!(code(share("1 BTC", "3 ETH")), Some(Code::CurrencyMismatch));
    assert_eq!(code(share("1 BTC", "0 BTC")), Some(Code::AmountOutOfRange));
}

#[test]
fn people_say_prices_above_zero_and_events_may_say_zero() {
    assert_eq!(code("0".parse::<Price>()), Some(Code::AmountNotPositive));
    assert_eq!(code("-1".parse::<Price>()), Some(Code::AmountNotPositive));
    assert_eq!(code("0.0000000000001".parse::<Price>()), Some(Code::TooManyDecimals));
    assert_eq!(code("1000000000000000000000001".parse::<Price>()), Some(Code::AmountOutOfRange));
    assert_eq!(through_json(&Price::ZERO), Price::ZERO);
    assert!(serde_json::from_str::<Price>(r#""-1""#).is_err());
    assert_eq!(read::<Price>("100").moved_by(-200_000_000), Ok(Price::ZERO));
    let lot = read::<Quantity>("0.00001 BTC");
    assert_eq!(code(Price::ZERO.affordable(usd(100), lot)), Some(Code::NoReferencePrice));
    assert_eq!(read::<Price>("5").affordable(usd(-100), lot), Ok(Quantity::zero(read("BTC"))));
}

#[test]
fn rates_lie_from_zero_to_one() {
    assert_eq!(Rate::from_basis_points(read("10")), Ok(read("0.001")));
    assert_eq!(Rate::from_basis_points(read("0.0001")), Ok(read("0.00000001")));
    assert_eq!(code(Rate::from_basis_points(read("10000.0001"))), Some(Code::MalformedInput));
    assert_eq!(code(Rate::from_basis_points(read("0.00001"))), Some(Code::TooManyDecimals));
    assert_eq!(code("1.00000001".parse::<Rate>()), Some(Code::MalformedInput));
    assert_eq!(code("-0.1".parse::<Rate>()), Some(Code::MalformedInput));
    assert_eq!(code("0.000000001".parse::<Rate>()), Some(Code::TooManyDecimals));
    assert_eq!(read::<Rate>("0.001").of(usd(1), Rounding::Up), Ok(usd(1)));
    assert_eq!(read::<Rate>("0.001").of(usd(1), Rounding::Down), Ok(usd(0)));
}

#[test]
fn asset_codes_are_short_and_plain() {
    for text in ["", "usd", "US D", "ABCDEFGHIJKLM", "É", "A-B", "A\0"] {
        assert_eq!(code(text.parse::<Asset>()), Some(Code::UnknownAsset), "{text:?}");
    }
    assert_eq!(read::<Asset>("ABCDEFGHIJKL").code(), "ABCDEFGHIJKL");
    assert!(read::<Asset>("1INCH") < read::<Asset>("BTC"));
}

#[test]
fn cash_is_a_currency_or_a_digital_one() {
    let kinds = |code: &str| (read::<Asset>(code).is_fiat(), read::<Asset>(code).is_cash());
    assert_eq!(kinds("USD"), (true, true));
    assert_eq!(kinds("BTC"), (false, true));
    assert_eq!(kinds("ACME"), (false, false));
    // Gold, and no currency at all.
    assert_eq!(kinds("XAU"), (false, false));
    assert_eq!(kinds("XXX"), (false, false));
}

/// A code that joins ISO 4217 would change the scale of what the log already holds; then this fails, and the table has to be
/// frozen before the library may be renewed.
#[test]
fn the_scales_of_currencies_never_change() {
    let letters = || b'A'..=b'Z';
    let mut by_scale = std::collections::BTreeMap::<u8, Vec<String>>::new();
    for (first, second, third) in letters().flat_map(|first| {
        letters().flat_map(move |second| letters().map(move |third| (first, second, third)))
    }) {
        let asset: Asset = read(&String::from_utf8_lossy(&[first, second, third]));
        if asset.is_fiat() {
            by_scale.entry(asset.scale()).or_default().push(asset.to_string());
        } else {
            assert_eq!(asset.scale(), Asset::DEFAULT_SCALE);
        }
    }
    let found: Vec<String> =
        by_scale.into_iter().map(|(scale, codes)| format!("{scale}: {}\n", codes.join(" "))).collect();
    assert_eq!(found.concat(), include_str!("currencies.txt"));
}
