//! Stop a market: no order reaches it and no fill happens.

use domain::market::{Market, MarketCommand};

use crate::request::{Answer, MarketStatusChange};
use crate::unit::{Halt, Unit};

pub(super) fn run(command: &MarketStatusChange, unit: &mut Unit<'_>) -> Result<Answer, Halt> {
    let change = MarketCommand::Halt { reason: command.reason.clone() };
    unit.execute::<Market>(command.symbol.as_str(), &change)?;
    Ok(Answer { symbol: Some(command.symbol.clone()), ..Answer::default() })
}
