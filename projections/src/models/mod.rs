//! The projections, a folder each: the fold, and the SQL of its tables beside it.

pub(crate) mod accounts;
pub(crate) mod book;
pub(crate) mod candles;
pub(crate) mod entries;
pub(crate) mod event_index;
pub(crate) mod fills;
pub(crate) mod holds;
pub(crate) mod markets;
pub(crate) mod orders;
pub(crate) mod parties;
pub(crate) mod portfolios;
pub(crate) mod positions;
mod posting;
pub(crate) mod trades;
pub(crate) mod transfers;

use crate::fold::Model;

/// Every projection there is.
pub(crate) const ALL: &[Model] = &[
    Model::of::<accounts::Accounts>(),
    Model::of::<book::Book>(),
    Model::of::<candles::Candles>(),
    Model::of::<entries::Entries>(),
    Model::of::<event_index::EventIndex>(),
    Model::of::<fills::Fills>(),
    Model::of::<holds::Holds>(),
    Model::of::<markets::Markets>(),
    Model::of::<orders::Orders>(),
    Model::of::<parties::Parties>(),
    Model::of::<portfolios::Portfolios>(),
    Model::of::<positions::Positions>(),
    Model::of::<trades::Trades>(),
    Model::of::<transfers::Transfers>(),
];

/// The projection with this name.
pub(crate) fn by_name(name: &str) -> Option<Model> {
    ALL.iter().copied().find(|model| model.name == name)
}
