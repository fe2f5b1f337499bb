//! The two ordered stages an order passes before it reaches a venue.
//!
//! [`instrument_stage`] asks what the instrument and its market allow, then [`portfolio_stage`] what the portfolio, its
//! cash and its limits allow. Each gives a [`Verdict`] with the figures it judged by, which become an event of the order:
//! `RiskStagePassed` or `OrderRejected`.

mod instrument;
mod portfolio;

use std::collections::BTreeMap;

use crate::order::OrderSide;
use crate::price::Price;
use crate::rate::Rate;
use crate::refusal::{Code, Refusal};

pub use instrument::{MarketPrices, instrument_stage};
pub use portfolio::portfolio_stage;

/// How far from the best opposite price a MARKET order may trade, in parts of one hundred million: 5 %. It caps the cash
/// that a buy has to hold and protects both sides against an empty book.
pub const MARKET_COLLAR: u32 = Rate::ONE_UNITS / 20;

/// The numbers a stage judged by, by name.
pub type Figures = BTreeMap<String, String>;

/// What a risk stage says.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "a variant's comment explains its fields")]
pub enum Verdict {
    /// The order may go on; these are the figures.
    Pass { figures: Figures },
    /// The order is turned down with a stable code, a message for people, and the figures.
    Reject { code: Code, message: String, figures: Figures },
}

/// The worst price at which a MARKET order may trade: `best` (the best opposite price, or the reference price when nothing
/// is there) moved by [`MARKET_COLLAR`], up to the next tick for a buy, down for a sale, but at least one tick.
///
/// # Errors
/// [`Code::AmountOutOfRange`].
pub fn market_order_bound(side: OrderSide, best: Price, tick: Price) -> Result<Price, Refusal> {
    let collar = i64::from(MARKET_COLLAR);
    match side {
        OrderSide::Buy => best.moved_by(collar)?.ceil_to(tick),
        OrderSide::Sell => Ok(best.moved_by(-collar)?.floor_to(tick).max(tick)),
    }
}

/// The figures of a verdict while it is being found.
#[derive(Default)]
struct Sheet(Figures);

impl Sheet {
    fn note(&mut self, name: &str, figure: impl ToString) {
        self.0.insert(name.to_owned(), figure.to_string());
    }

    fn reject(self, code: Code, message: impl Into<String>) -> Verdict {
        Verdict::Reject { code, message: message.into(), figures: self.0 }
    }

    fn pass(self) -> Verdict {
        Verdict::Pass { figures: self.0 }
    }
}
