//! Take an order back: it leaves the book, and what it had set aside comes free in the same commit.

use domain::Code;
use domain::account::Account;
use domain::market::{Market, MarketCommand, Venue};
use domain::order::{Order, OrderCommand};
use domain::portfolio::Portfolio;

use crate::request::{Answer, CancelOrder};
use crate::unit::{Halt, Unit};
use crate::use_cases::{Blame, execution};

pub(super) fn run(command: &CancelOrder, unit: &mut Unit<'_>) -> Result<Answer, Halt> {
    let order = unit.read::<Order>(command.order_id.as_str())?;
    let order = order.placed().map_err(Halt::from).at("orderId")?;
    unit.authorise_owner(&order.ticket.owner)?;
    unit.want::<Account>([order.ticket.account_id.as_str()])?;
    unit.want::<Portfolio>([order.ticket.portfolio_id.as_str()])?;
    execution::end(unit, &command.order_id, &OrderCommand::Cancel).at("orderId")?;
    if order.ticket.venue == Venue::Internal {
        unit.execute::<Market>(
            order.ticket.symbol.as_str(),
            &MarketCommand::Unbook { order_id: command.order_id.clone(), code: Code::CanceledByUser },
        )?;
    }
    Ok(Answer { order_id: Some(command.order_id.clone()), ..Answer::default() })
}
