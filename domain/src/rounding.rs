//! Multiplication and division of whole numbers with the rounding said, exact in between.

use std::cmp::Ordering;

use crate::refusal::{Code, Refusal};

/// How a result that falls between two whole numbers is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// To the smaller magnitude.
    Down,
    /// To the larger magnitude.
    Up,
    /// To the nearer; a tie goes to the even neighbour.
    HalfEven,
    /// Not at all: what does not divide is refused.
    Exact,
}

/// `factor × other / divisor`, rounded once, at the end. The product is kept in 256 bits, so only a result that does not
/// fit an `i128` is refused.
///
/// # Errors
/// [`Code::AmountOutOfRange`] if the result does not fit or the divisor is not above zero; [`Code::TickAndLotTooFine`] if
/// [`Rounding::Exact`] was asked for and it does not divide.
pub fn mul_div(factor: i128, other: i128, divisor: i128, rounding: Rounding) -> Result<i128, Refusal> {
    if divisor <= 0 {
        return Err(out_of_range());
    }
    let negative = (factor < 0) != (other < 0);
    let divisor = divisor.unsigned_abs();
    let (quotient, remainder) =
        divide_wide(multiply_wide(factor.unsigned_abs(), other.unsigned_abs()), divisor)
            .ok_or_else(out_of_range)?;
    let away_from_zero = match rounding {
        _ if remainder == 0 => false,
        Rounding::Down => false,
        Rounding::Up => true,
        Rounding::HalfEven => match remainder.cmp(&(divisor - remainder)) {
            Ordering::Less => false,
            Ordering::Greater => true,
            Ordering::Equal => quotient % 2 == 1,
        },
        Rounding::Exact => {
            return Err(Refusal::new(Code::TickAndLotTooFine, "the result does not fit the asset's scale"));
        }
    };
    let magnitude = quotient.checked_add(u128::from(away_from_zero)).ok_or_else(out_of_range)?;
    let magnitude = i128::try_from(magnitude).map_err(|_| out_of_range())?;
    Ok(if negative { -magnitude } else { magnitude })
}

fn out_of_range() -> Refusal {
    Refusal::new(Code::AmountOutOfRange, "a result computed from the amount is too large")
}

/// The 256-bit product of two magnitudes of at most 2^127, high half first: schoolbook multiplication of 64-bit limbs.
fn multiply_wide(a: u128, b: u128) -> (u128, u128) {
    const LOW: u128 = u64::MAX as u128;
    let (a_high, a_low) = (a >> 64, a & LOW);
    let (b_high, b_low) = (b >> 64, b & LOW);
    let low = a_low * b_low;
    // The high limbs are at most 2^63, so the cross products are below 2^127 each, and their sum leaves room for the carry.
    let middle = a_high * b_low + a_low * b_high + (low >> 64);
    let high = a_high * b_high + (middle >> 64);
    (high, (middle << 64) | (low & LOW))
}

/// Quotient and remainder, if the quotient fits: binary long division, taken only when the product needs more than 128 bits.
fn divide_wide((high, low): (u128, u128), divisor: u128) -> Option<(u128, u128)> {
    if high == 0 {
        return Some((low / divisor, low % divisor));
    }
    if high >= divisor {
        return None;
    }
    let (mut remainder, mut quotient) = (high, 0u128);
    for bit in (0..128).rev() {
        // The remainder stays below the divisor, which is below 2^127, so doubling it never overflows.
        remainder = (remainder << 1) | ((low >> bit) & 1);
        quotient <<= 1;
        if remainder >= divisor {
            remainder -= divisor;
            quotient |= 1;
        }
    }
    Some((quotient, remainder))
}
