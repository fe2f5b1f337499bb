//! What has just changed in the read models, for those who watch, on the node that folds and on the others.

use std::sync::Arc;

use domain::ids::{AccountId, OrderId, PortfolioId, Symbol};
use event_store::LogPosition;
use serde::{Deserialize, Serialize};

/// One thing whose read model has changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Changed {
    /// An account: its balance, status or limits. Its entries and holds change with it.
    Account(AccountId),
    /// A portfolio itself or one of its positions. Its value also changes with its cash account and with prices.
    Portfolio(PortfolioId),
    /// An order, and its fills.
    Order {
        /// The order.
        order_id: OrderId,
        /// Its portfolio.
        portfolio_id: PortfolioId,
    },
    /// A market's status, prices or book.
    Market(Symbol),
    /// There are new trades on an internal market.
    Trades(Symbol),
    /// Anything may have changed: it was too much to tell, or was not heard.
    Unknown,
}

/// What one commit of the read models has changed. Sent after the commit, so whoever reads then finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The checkpoint of that commit.
    pub log_position: LogPosition,
    /// What has changed, each once.
    pub changed: Arc<[Changed]>,
}
