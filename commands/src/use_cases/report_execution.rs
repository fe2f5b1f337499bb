//! A paper venue reports fills of one order, and its end if it has ended: one commit.

use domain::account::Account;
use domain::ids::Party;
use domain::market::{Market, MarketStatus, Venue};
use domain::order::{Order, OrderCommand};
use domain::portfolio::Portfolio;
use domain::{Code, Refusal};

use crate::request::{Answer, ReportExecution};
use crate::unit::{Halt, Unit};
use crate::use_cases::execution::{self, Fill};

pub(super) fn run(command: &ReportExecution, unit: &mut Unit<'_>) -> Result<Answer, Halt> {
    let order = unit.read::<Order>(command.order_id.as_str())?;
    let ticket = &order.placed()?.ticket;
    if ticket.venue != Venue::Paper {
        return Err(Refusal::new(Code::WrongVenue, "the order is not of a paper market").into());
    }
    let market = unit.read::<Market>(ticket.symbol.as_str())?;
    if market.registered()?.status == MarketStatus::Halted && !command.fills.is_empty() {
        return Err(Refusal::new(Code::MarketHalted, "the market is halted: no fill happens").into());
    }
    unit.want::<Account>([ticket.account_id.as_str()])?;
    unit.want::<Portfolio>([ticket.portfolio_id.as_str()])?;
    for fill in &command.fills {
        let fill = Fill {
            trade_id: fill.trade_id.clone(),
            price: fill.price,
            quantity: fill.quantity,
            liquidity: fill.liquidity,
            evidence: Some(fill.evidence.clone()),
            cash_counterparty: Party::PAPER_VENUE,
            asset_counterparty: Party::PAPER_VENUE,
        };
        execution::settle(unit, &command.order_id, fill)?;
    }
    if let Some(code) = command.expired {
        execution::end(unit, &command.order_id, &OrderCommand::Expire { code })?;
    }
    Ok(Answer { order_id: Some(command.order_id.clone()), ..Answer::default() })
}
