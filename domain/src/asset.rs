//! Assets: what an amount is an amount of, and how finely it divides.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::refusal::{Code, Refusal};

/// An asset code, 1 to 12 capital letters and digits: `USD`, `USDT`, `BTC`, `ACME`.
///
/// The scale follows from the code alone, so it is the same on every machine for ever: ISO 4217 currencies have
/// their minor unit (`USD` 2, `JPY` 0), every other asset has [`Asset::DEFAULT_SCALE`]. Codes of ISO 4217 without a minor unit
/// (`XAU`, `XXX`) are no currencies here. A test pins the list, because a code that joins it changes its scale.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Asset {
    code: [u8; Asset::MAX_LENGTH],
    scale: u8,
}

/// Digital currencies in which an account may be kept, beside those of ISO 4217.
const DIGITAL_CASH: &[&str] = &["BTC", "ETH", "USDC", "USDT"];

/// Digits after the point of a currency of ISO 4217.
fn minor_unit(code: &str) -> Option<u8> {
    let exponent = iso_currency::Currency::from_code(code)?.exponent()?;
    u8::try_from(exponent).ok()
}

impl Asset {
    /// Characters a code may have.
    pub const MAX_LENGTH: usize = 12;
    /// Digits after the point of an asset that is not an ISO 4217 currency.
    pub const DEFAULT_SCALE: u8 = 8;

    /// The code, for example `BTC`.
    pub fn code(&self) -> &str {
        let length = self.code.iter().position(|b| *b == 0).unwrap_or(Self::MAX_LENGTH);
        std::str::from_utf8(&self.code[..length]).unwrap_or_default()
    }

    /// Digits after the point: the smallest unit is `10^-scale`.
    pub fn scale(&self) -> u8 {
        self.scale
    }

    /// How many smallest units make one.
    pub fn one(&self) -> i128 {
        10i128.pow(u32::from(self.scale))
    }

    /// Whether it is a currency of ISO 4217: kept in accounts only.
    pub fn is_fiat(&self) -> bool {
        minor_unit(self.code()).is_some()
    }

    /// Whether an account may be kept in it.
    pub fn is_cash(&self) -> bool {
        self.is_fiat() || DIGITAL_CASH.contains(&self.code())
    }
}

impl FromStr for Asset {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let well_formed = (1..=Self::MAX_LENGTH).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        if !well_formed {
            return Err(Refusal::new(
                Code::UnknownAsset,
                "an asset is 1 to 12 capital letters and digits, such as USD or BTC",
            ));
        }
        let scale = minor_unit(text).unwrap_or(Self::DEFAULT_SCALE);
        let mut code = [0; Self::MAX_LENGTH];
        code[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self { code, scale })
    }
}

impl fmt::Display for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Asset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Asset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Asset {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Asset".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Z0-9]{1,12}$", "description": "An asset code, for example USD or BTC." })
    }
}
