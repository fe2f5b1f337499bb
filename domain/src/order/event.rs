//! What can happen to an order.

#![expect(missing_docs, reason = "a variant's comment explains its fields")]

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::amount::{Money, Quantity};
use crate::decimal::Decimal;
use crate::ids::{HoldId, OrderId, TradeId};
use crate::order::{Liquidity, OrderTicket};
use crate::price::Price;
use crate::rate::Rate;
use crate::refusal::Code;

/// The stages of risk, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RiskStage {
    /// What the instrument and its market allow.
    Instrument,
    /// What the portfolio, its cash and its limits allow.
    Portfolio,
}

/// A level of an observed book that a fill used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LevelUsed {
    /// Price of the level.
    pub price: Price,
    /// How much of it was used, in the base asset.
    pub quantity: Decimal,
}

/// What of an outside market a paper fill rests on. From the recording and this anyone can check the fill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// The feed, for example `binance-spot/btcusdt-20240808`.
    pub feed: String,
    /// Which time the recording was playing, from 1; 0 on a live feed.
    pub pass: u64,
    /// The last update id the observed book had seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_id: Option<u64>,
    /// The outside trade that filled a resting order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trade_id: Option<u64>,
    /// For a resting order, the quantity that was still ahead of it before that trade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead: Option<Decimal>,
    /// For a taker, the levels it used, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<LevelUsed>,
}

/// A fact about one order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum OrderEvent {
    /// What was asked for.
    OrderPlaced { order_id: OrderId, ticket: OrderTicket },
    /// A risk stage let it pass, for these figures.
    RiskStagePassed { stage: RiskStage, figures: BTreeMap<String, String> },
    /// A risk stage turned it down: the end, and nothing else has changed.
    OrderRejected { stage: RiskStage, code: Code, message: String, figures: BTreeMap<String, String> },
    /// It is on its way to its venue, with this set aside and these terms.
    OrderAccepted {
        /// The hold on the cash account, of a buy order.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hold_id: Option<HoldId>,
        /// What the hold holds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        held: Option<Money>,
        /// The quantity set aside, of a sell order.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reserved: Option<Quantity>,
        /// The worst price at which an order without a limit price may trade: the cap of a buy, the floor of a sale.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        price_bound: Option<Price>,
        /// Fee when it is the maker.
        maker_fee: Rate,
        /// Fee when it is the taker.
        taker_fee: Rate,
    },
    /// Part of it, or all, traded.
    OrderFilled {
        trade_id: TradeId,
        price: Price,
        quantity: Quantity,
        /// Price times quantity.
        notional: Money,
        /// In the quote asset (zero or more): what all fills owe, rounded up, less what earlier fills were charged.
        fee: Money,
        liquidity: Liquidity,
        /// What has been filled with this, in all.
        filled_quantity: Quantity,
        /// Whether the order is filled with this.
        done: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evidence: Option<Evidence>,
    },
    /// The user took it back.
    OrderCanceled {},
    /// The venue ended it: why.
    OrderExpired { code: Code },
}

crate::domain_event!(Order: OrderEvent {
    OrderPlaced,
    RiskStagePassed,
    OrderRejected,
    OrderAccepted,
    OrderFilled,
    OrderCanceled,
    OrderExpired,
});
