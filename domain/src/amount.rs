//! Amounts: a checked whole number of an asset's smallest units.
//!
//! [`Money`] is cash, [`Quantity`] is anything else; they are different types, so one is never added to the other.
//! As JSON an amount is a string that says it all: `"12.50 USD"`, `"0.50000000 BTC"`, always at the asset's scale.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::asset::Asset;
use crate::decimal::{Decimal, NumberText};
use crate::refusal::{Code, Refusal};
use crate::rounding::{Rounding, mul_div};

/// Marks an amount as cash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cash {}
/// Marks an amount as a quantity of an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Instrument {}

/// The kinds of amounts there are.
pub trait Kind: Copy + Eq + std::hash::Hash + fmt::Debug + Send + Sync + 'static {}
impl Kind for Cash {}
impl Kind for Instrument {}

/// Cash of a currency, signed.
pub type Money = Amount<Cash>;
/// A quantity of an asset, signed.
pub type Quantity = Amount<Instrument>;

/// A signed amount of an asset in its smallest units. Arithmetic is checked: it never wraps, rounds or mixes assets.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Amount<K> {
    asset: Asset,
    units: i128,
    kind: PhantomData<K>,
}

/// The largest magnitude of an amount, in smallest units: 10^27, ten thousand million billions of an asset with eight digits.
/// A hundred thousand million of the largest amounts still add up in an `i128`, so the sums of a ledger do not overflow.
pub const MAX_UNITS: i128 = 10i128.pow(27);
const _: () = assert!(i128::MAX / MAX_UNITS > 100_000_000_000);

fn out_of_range() -> Refusal {
    Refusal::new(Code::AmountOutOfRange, "the amount, or a result computed from it, is too large")
}

impl<K: Kind> Amount<K> {
    /// `units` smallest units of `asset`.
    ///
    /// # Errors
    /// [`Code::AmountOutOfRange`] beyond ±[`MAX_UNITS`].
    pub fn from_units(asset: Asset, units: i128) -> Result<Self, Refusal> {
        if units.unsigned_abs() > MAX_UNITS.unsigned_abs() {
            return Err(out_of_range());
        }
        Ok(Self { asset, units, kind: PhantomData })
    }

    /// Nothing of `asset`.
    pub const fn zero(asset: Asset) -> Self {
        Self { asset, units: 0, kind: PhantomData }
    }

    /// The decimal number as an amount of `asset`.
    ///
    /// # Errors
    /// [`Code::TooManyDecimals`], [`Code::AmountOutOfRange`].
    pub fn from_decimal(asset: Asset, number: Decimal) -> Result<Self, Refusal> {
        Self::from_units(asset, number.units_at(asset.scale())?)
    }

    /// As [`Amount::from_decimal`], and above zero.
    ///
    /// # Errors
    /// Those, and [`Code::AmountNotPositive`].
    pub fn positive(asset: Asset, number: Decimal) -> Result<Self, Refusal> {
        let amount = Self::from_decimal(asset, number)?;
        if amount.units <= 0 {
            return Err(Refusal::new(Code::AmountNotPositive, "the amount must be above zero"));
        }
        Ok(amount)
    }

    /// What it is an amount of.
    pub fn asset(&self) -> Asset {
        self.asset
    }

    /// The number of smallest units.
    pub fn units(&self) -> i128 {
        self.units
    }

    /// The number alone, without its asset.
    pub fn to_decimal(&self) -> Decimal {
        Decimal::new(self.units, self.asset.scale())
    }

    /// The number alone with all digits of the asset's scale, for example `12.50`.
    pub fn number(&self) -> String {
        NumberText::new(self.units, self.asset.scale(), None).as_str().to_owned()
    }

    fn text(&self) -> NumberText {
        NumberText::new(self.units, self.asset.scale(), Some(&self.asset))
    }

    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        self.units == 0
    }

    /// Whether it is above zero.
    pub fn is_positive(&self) -> bool {
        self.units > 0
    }

    /// Whether it is below zero.
    pub fn is_negative(&self) -> bool {
        self.units < 0
    }

    fn same_asset(&self, other: &Self) -> Result<(), Refusal> {
        if self.asset == other.asset {
            return Ok(());
        }
        Err(Refusal::new(
            Code::CurrencyMismatch,
            format!("{} and {} cannot be combined", self.asset, other.asset),
        ))
    }

    /// The sum.
    ///
    /// # Errors
    /// [`Code::CurrencyMismatch`], [`Code::AmountOutOfRange`].
    pub fn plus(&self, other: Self) -> Result<Self, Refusal> {
        self.same_asset(&other)?;
        Self::from_units(self.asset, self.units.checked_add(other.units).ok_or_else(out_of_range)?)
    }

    /// The difference.
    ///
    /// # Errors
    /// [`Code::CurrencyMismatch`], [`Code::AmountOutOfRange`].
    pub fn minus(&self, other: Self) -> Result<Self, Refusal> {
        self.same_asset(&other)?;
        Self::from_units(self.asset, self.units.checked_sub(other.units).ok_or_else(out_of_range)?)
    }

    /// Adds what has happened. The decision checked that the sum is in range and of one asset, so a sum that is not can only
    /// come from a log that was tampered with, which its hashes tell; the amount then stays as it was, because applying an
    /// event never fails.
    pub(crate) fn accumulate(&mut self, other: Self) {
        if let Ok(sum) = self.plus(other) {
            *self = sum;
        }
    }

    /// `self × part / whole` of two amounts of one asset, rounded as said: a share of a cost.
    ///
    /// # Errors
    /// [`Code::CurrencyMismatch`] if part and whole are of different assets; [`Code::AmountOutOfRange`], also when `whole` is
    /// not above zero; [`Code::TickAndLotTooFine`] if [`Rounding::Exact`] does not hold.
    pub fn share<P: Kind>(
        &self,
        part: Amount<P>,
        whole: Amount<P>,
        rounding: Rounding,
    ) -> Result<Self, Refusal> {
        part.same_asset(&whole)?;
        Self::from_units(self.asset, mul_div(self.units, part.units, whole.units, rounding)?)
    }

    /// Whether it is a whole multiple of `lot`; of a lot of another asset or of nothing it never is.
    pub fn is_multiple_of(&self, lot: Self) -> bool {
        self.asset == lot.asset && lot.units != 0 && self.units % lot.units == 0
    }

    /// The nearest multiple of `lot` towards zero. A lot of nothing leaves the amount as it is.
    ///
    /// # Errors
    /// [`Code::CurrencyMismatch`].
    pub fn floor_to(&self, lot: Self) -> Result<Self, Refusal> {
        self.same_asset(&lot)?;
        Ok(if lot.units == 0 { *self } else { Self { units: self.units - self.units % lot.units, ..*self } })
    }

    /// The larger of two amounts of the same asset.
    ///
    /// # Errors
    /// [`Code::CurrencyMismatch`].
    pub fn max(&self, other: Self) -> Result<Self, Refusal> {
        self.same_asset(&other)?;
        Ok(if self.units >= other.units { *self } else { other })
    }

    /// The same magnitude with the other sign.
    #[must_use]
    pub fn negated(&self) -> Self {
        Self { units: -self.units, ..*self }
    }

    /// The smaller of two amounts of the same asset.
    ///
    /// # Errors
    /// [`Code::CurrencyMismatch`].
    pub fn min(&self, other: Self) -> Result<Self, Refusal> {
        self.same_asset(&other)?;
        Ok(if self.units <= other.units { *self } else { other })
    }

    /// Whether this is less than `other` of the same asset.
    ///
    /// # Errors
    /// [`Code::CurrencyMismatch`].
    pub fn is_less_than(&self, other: Self) -> Result<bool, Refusal> {
        self.same_asset(&other)?;
        Ok(self.units < other.units)
    }
}

impl<K: Kind> fmt::Display for Amount<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_str())
    }
}

impl<K: Kind> fmt::Debug for Amount<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<K: Kind> FromStr for Amount<K> {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let (number, asset) = text.split_once(' ').ok_or_else(|| {
            Refusal::new(Code::InvalidAmount, "expected a number, a space and an asset such as \"12.50 USD\"")
        })?;
        Self::from_decimal(asset.parse()?, number.parse()?)
    }
}

impl<K: Kind> Serialize for Amount<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text().as_str())
    }
}

impl<'de, K: Kind> Deserialize<'de> for Amount<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<K: Kind> JsonSchema for Amount<K> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Amount".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^-?[0-9]+(\.[0-9]+)? [A-Z0-9]{1,12}$",
            "description": "An amount at its asset's scale and the asset, for example \"12.50 USD\"."
        })
    }
}
