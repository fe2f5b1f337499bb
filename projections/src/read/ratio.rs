//! What one unit costs: a quotient of two amounts, rounded once and only for showing.

use domain::amount::{Amount, Kind};
use domain::{Asset, Decimal, Quantity};

/// Digits after the point of a quotient.
const DIGITS: u8 = 8;

/// `amount` for one of `quantity`, half-even to eight digits; `None` for no quantity, and where it cannot be written.
pub(super) fn ratio<K: Kind>(amount: Amount<K>, quantity: Quantity) -> Option<Decimal> {
    let scale = |asset: Asset| i32::from(asset.scale());
    let shift = i32::from(DIGITS) + scale(quantity.asset()) - scale(amount.asset());
    let mut divisor = quantity.units();
    if divisor <= 0 {
        return None;
    }
    for _ in shift..0 {
        divisor = divisor.checked_mul(10)?;
    }
    // By hand, digit for digit: the product of both scales need not fit.
    let numerator = amount.units();
    let (mut quotient, mut rest) = (numerator / divisor, (numerator % divisor).unsigned_abs());
    let divisor = divisor.unsigned_abs();
    for _ in 0..shift.max(0) {
        rest = rest.checked_mul(10)?;
        let digit = i128::try_from(rest / divisor).ok()?;
        quotient = quotient.checked_mul(10)?.checked_add(if numerator < 0 { -digit } else { digit })?;
        rest %= divisor;
    }
    let round_away = match (rest * 2).cmp(&divisor) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => quotient % 2 != 0,
    };
    let away = if numerator < 0 { -1 } else { 1 };
    Some(Decimal::new(quotient + if round_away { away } else { 0 }, DIGITS))
}

#[cfg(test)]
mod tests {
    use domain::Money;

    use super::*;

    fn quotient(amount: &str, quantity: &str) -> Option<String> {
        let (amount, quantity): (Money, Quantity) = (amount.parse().unwrap(), quantity.parse().unwrap());
        ratio(amount, quantity).map(|decimal| decimal.to_string())
    }

    #[test]
    fn a_quotient_is_exact_where_it_can_be_and_half_even_where_not() {
        assert_eq!(quotient("30918.815 USDT", "0.5 BTC").as_deref(), Some("61837.63"));
        assert_eq!(quotient("1 USDT", "3 BTC").as_deref(), Some("0.33333333"));
        assert_eq!(quotient("2 USDT", "3 BTC").as_deref(), Some("0.66666667"));
        assert_eq!(quotient("-2 USDT", "3 BTC").as_deref(), Some("-0.66666667"));
        assert_eq!(quotient("0.00000001 USDT", "2 BTC").as_deref(), Some("0"));
        assert_eq!(quotient("0.00000003 USDT", "2 BTC").as_deref(), Some("0.00000002"));
        assert_eq!(quotient("10.01 USD", "4 ACME").as_deref(), Some("2.5025"));
        assert_eq!(quotient("10.01 USD", "0 ACME"), None);
    }

    #[test]
    fn the_largest_amounts_do_not_overflow() {
        let largest = format!("{}.00000000 USDT", 10_i128.pow(19));
        assert_eq!(quotient(&largest, "1 BTC").as_deref(), Some(&*10_i128.pow(19).to_string()));
        assert_eq!(quotient("1 USDT", &largest.replace("USDT", "BTC")).as_deref(), Some("0"));
        assert_eq!(quotient(&largest, "0.00000001 BTC").as_deref(), Some(&*10_i128.pow(27).to_string()));
    }
}
