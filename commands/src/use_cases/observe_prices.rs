//! A feed has observed a window of one or more outside markets.

use domain::quote::{Quote, QuoteCommand};

use crate::request::{Answer, ObservePrices};
use crate::unit::{Halt, Unit};

pub(super) fn run(command: &ObservePrices, unit: &mut Unit<'_>) -> Result<Answer, Halt> {
    unit.want::<Quote>(command.windows.iter().map(|window| window.symbol.as_str()))?;
    for window in &command.windows {
        let observe = QuoteCommand::Observe { window: window.clone() };
        unit.execute::<Quote>(window.symbol.as_str(), &observe)?;
    }
    Ok(Answer::default())
}
