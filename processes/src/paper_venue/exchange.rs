//! The paper exchange of one market: answers orders with fills as the observed market would have. Pure: the same feed and the
//! same orders at the same places between its messages give the same answers.
//!
//! - **Taker.** It walks the observed levels best first within its worst price, in whole lots. What it takes of a level
//!   stays taken until the feed says something new about that level. What remains of MARKET and IOC expires; FOK that cannot
//!   fill whole expires untouched; LIMIT_MAKER that would take expires.
//! - **Maker.** What rests is behind the quantity observed at its price (`ahead`). Trades at that price from the other side use
//!   up what is ahead, and then fill it; a depth update can only shorten what is ahead. A trade beyond its price fills it whole.
//!   Its fills are at its own price. Our own orders at one price fill in the order in which they came.
//! - **Waiting.** While the book is not known, the market halted or the account frozen, an order waits and nothing fills.
//!
//! It takes for granted that its reports become events; [`PaperExchange::refused`] takes one back.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use domain::decider::Decider;
use domain::ids::{AccountId, OrderId, TradeId};
use domain::order::{
    Evidence, LevelUsed, Liquidity, Order, OrderCommand, OrderSide, OrderType, Placed, TimeInForce,
};
use domain::{Code, Price, Quantity, Timestamp};

use crate::feed::{DepthUpdate, FeedMessage, MarketData, MarketTrade, Pass};
use crate::observed_book::{BookChange, ObservedBook};
use crate::paper_venue::report::{ExecutionReport, PaperFill};
use crate::paper_venue::resting::RestingOrders;

/// Fills in one report at most; a FOK order that needs more levels is not fillable.
const MAX_FILLS: usize = 4_000;

/// Where an order is at the venue.
#[derive(Clone, Debug, PartialEq)]
enum Place {
    /// Not yet there: the book, the market or the account does not allow it.
    Waiting,
    /// At its price, since its `arrival`, behind `ahead`; unknown until the book is.
    Resting { arrival: u64, ahead: Option<Quantity> },
}

#[derive(Clone, Debug)]
struct VenueOrder {
    order: Order,
    place: Place,
    attempt: u32,
}

/// The paper exchange of one market.
#[derive(Clone, Debug)]
pub struct PaperExchange {
    pass: Pass,
    book: ObservedBook,
    /// What we took of levels of which the feed has not spoken since.
    taken_bids: BTreeMap<Price, Quantity>,
    taken_asks: BTreeMap<Price, Quantity>,
    orders: HashMap<OrderId, VenueOrder>,
    resting: RestingOrders,
    waiting: VecDeque<OrderId>,
    arrivals: u64,
    halted: bool,
    frozen: HashSet<AccountId>,
}

impl PaperExchange {
    /// An exchange that continues the observed book of a feed.
    pub fn new(book: ObservedBook, pass: Pass) -> Self {
        Self {
            pass,
            book,
            taken_bids: BTreeMap::new(),
            taken_asks: BTreeMap::new(),
            orders: HashMap::new(),
            resting: RestingOrders::default(),
            waiting: VecDeque::new(),
            arrivals: 0,
            halted: false,
            frozen: HashSet::new(),
        }
    }

    /// An accepted order arrives.
    pub fn arrive(&mut self, order: Order, now: Timestamp) -> Vec<ExecutionReport> {
        let Ok(placed) = order.placed() else { return Vec::new() };
        let id = placed.order_id.clone();
        if !placed.is_open() || self.orders.contains_key(&id) {
            return Vec::new();
        }
        self.orders.insert(id.clone(), VenueOrder { order, place: Place::Waiting, attempt: 0 });
        self.waiting.push_back(id);
        self.admit(now)
    }

    /// An order that rested before a restart rests again, behind the quantity observed at its price.
    pub fn rest_again(&mut self, order: Order) {
        let Ok(placed) = order.placed() else { return };
        let id = placed.order_id.clone();
        if placed.is_open() && !self.orders.contains_key(&id) {
            self.orders.insert(id.clone(), VenueOrder { order, place: Place::Waiting, attempt: 0 });
            self.rest(&id);
        }
    }

    /// Whether the order rests in the market.
    pub fn is_resting(&self, id: &OrderId) -> bool {
        self.orders.get(id).is_some_and(|order| matches!(order.place, Place::Resting { .. }))
    }

    /// The order was canceled, or ended otherwise than by a report.
    pub fn remove(&mut self, id: &OrderId) {
        self.unrest(id);
        self.orders.remove(id);
    }

    /// What the log says of an order. If it knows of more fills than the exchange does, the exchange goes on from there;
    /// otherwise its own reports are still on their way.
    pub fn confirm(&mut self, confirmed: &Order) {
        let Ok(placed) = confirmed.placed() else { return };
        let known = self.placed(&placed.order_id).map_or(u64::MAX, |ours| ours.fill_count);
        if placed.fill_count > known
            && let Some(ours) = self.orders.get_mut(&placed.order_id)
        {
            ours.order = confirmed.clone();
        }
    }

    /// A report of the order was refused: it did not happen, and the log says this of the order. It stays open; if it had not
    /// come to rest it waits for the next opportunity: another arrival, the next snapshot, or the end of a halt or freeze.
    pub fn refused(&mut self, report: &ExecutionReport, confirmed: Order) {
        let Ok(placed) = confirmed.placed() else { return };
        let id = placed.order_id.clone();
        if !placed.is_open() {
            self.remove(&id);
            return;
        }
        match self.orders.get_mut(&id) {
            Some(ours) => {
                ours.order = confirmed;
                ours.attempt += 1;
            }
            None => {
                let rests = report.fills.iter().any(|fill| fill.liquidity == Liquidity::Maker);
                let attempt = report.attempt + 1;
                self.orders
                    .insert(id.clone(), VenueOrder { order: confirmed, place: Place::Waiting, attempt });
                if rests { self.rest(&id) } else { self.waiting.push_back(id) }
            }
        }
    }

    /// The market was halted: nothing fills until it is resumed.
    pub fn halt(&mut self) {
        self.halted = true;
    }

    /// The market trades again; what has waited arrives.
    pub fn resume(&mut self, now: Timestamp) -> Vec<ExecutionReport> {
        self.halted = false;
        self.admit(now)
    }

    /// The account was frozen: none of its orders fills until it is unfrozen.
    pub fn freeze(&mut self, account: AccountId) {
        self.frozen.insert(account);
    }

    /// The account may trade again; its orders that have waited arrive.
    pub fn unfreeze(&mut self, account: &AccountId, now: Timestamp) -> Vec<ExecutionReport> {
        self.frozen.remove(account);
        self.admit(now)
    }

    /// A message of the feed. A gap leaves the book unknown until the next snapshot.
    pub fn observe(&mut self, message: &FeedMessage) -> Vec<ExecutionReport> {
        match &*message.data {
            MarketData::PassStarted(pass) => {
                self.pass = pass.clone();
                self.book.reset();
                self.forget_taken();
                Vec::new()
            }
            MarketData::Snapshot(snapshot) => {
                if self.book.start_from(snapshot).is_err() {
                    return Vec::new();
                }
                self.forget_taken();
                self.look_ahead_again();
                self.admit(message.at)
            }
            MarketData::Depth(update) => {
                if self.book.update(update) == Ok(BookChange::Levels) {
                    self.levels_changed(update);
                }
                Vec::new()
            }
            MarketData::Ticker(_) => Vec::new(),
            MarketData::Trade(trade) => self.traded(trade, message.at),
        }
    }

    /// Lets in what waits and may trade now, in the order in which it came.
    fn admit(&mut self, now: Timestamp) -> Vec<ExecutionReport> {
        let mut reports = Vec::new();
        for id in std::mem::take(&mut self.waiting) {
            let Some(account) = self.placed(&id).map(|placed| placed.ticket.account_id.clone()) else {
                continue;
            };
            if self.halted || !self.book.is_ready() || self.frozen.contains(&account) {
                self.waiting.push_back(id);
            } else {
                reports.extend(self.enter(&id, now));
            }
        }
        reports
    }

    /// An order meets the observed book.
    fn enter(&mut self, id: &OrderId, now: Timestamp) -> Option<ExecutionReport> {
        let VenueOrder { mut order, attempt, .. } = self.orders.get(id)?.clone();
        let (side, order_type, time_in_force, number) = {
            let placed = order.placed().ok()?;
            let ticket = &placed.ticket;
            (ticket.side, ticket.order_type, ticket.time_in_force, placed.fill_count + 1)
        };
        let report =
            |fills, expired| Some(ExecutionReport { order_id: id.clone(), number, attempt, fills, expired });
        if order_type == OrderType::LimitMaker {
            if self.would_take(order.placed().ok()?) {
                self.remove(id);
                return report(Vec::new(), Some(Code::WouldTake));
            }
            self.rest(id);
            return None;
        }
        let fills = self.walk(&mut order, now);
        let open = order.placed().is_ok_and(Placed::is_open);
        if open && time_in_force == TimeInForce::Fok {
            self.remove(id);
            return report(Vec::new(), Some(Code::NotFillable));
        }
        for fill in &fills {
            let taken = self.taken(side.opposite());
            let so_far = taken.get(&fill.price).copied().unwrap_or(Quantity::zero(fill.quantity.asset()));
            taken.insert(fill.price, so_far.plus(fill.quantity).unwrap_or(so_far));
        }
        let rests = open && time_in_force == TimeInForce::Gtc;
        if rests {
            if let Some(ours) = self.orders.get_mut(id) {
                ours.order = order;
            }
            self.rest(id);
        } else {
            self.remove(id);
        }
        let expired = (open && !rests).then_some(Code::NoLiquidity);
        if fills.is_empty() && expired.is_none() { None } else { report(fills, expired) }
    }

    fn would_take(&self, placed: &Placed) -> bool {
        let Some(limit) = placed.worst_price() else { return false };
        let side = placed.ticket.side;
        self.available(side.opposite()).next().is_some_and(|(price, _)| side.allows(limit, price))
    }

    /// Fills the order from the levels it may trade at, best first. The order changes, the exchange does not.
    fn walk(&self, order: &mut Order, now: Timestamp) -> Vec<PaperFill> {
        let mut fills = Vec::new();
        let Some((side, lot)) = order.placed().ok().map(|p| (p.ticket.side, p.ticket.lot_size)) else {
            return fills;
        };
        for (price, available) in self.available(side.opposite()) {
            let Ok(placed) = order.placed() else { break };
            if !placed.is_open() || fills.len() >= MAX_FILLS {
                break;
            }
            let Ok(quantity) = placed.fillable(price, available, Liquidity::Taker) else { break };
            if !quantity.is_positive() {
                // Less than a lot is there, so the next level may do; or the order can trade no more, at worse prices neither.
                if available.is_less_than(lot).unwrap_or(false) {
                    continue;
                }
                break;
            }
            let evidence = Evidence {
                levels: vec![LevelUsed { price, quantity: quantity.to_decimal() }],
                ..self.evidence()
            };
            match fill(order, price, quantity, Liquidity::Taker, evidence, now) {
                Some(filled) => fills.push(filled),
                None => break,
            }
        }
        fills
    }

    /// What is left of the observed levels of a side after what we took, best first.
    fn available(&self, side: OrderSide) -> impl Iterator<Item = (Price, Quantity)> + '_ {
        let taken = match side {
            OrderSide::Buy => &self.taken_bids,
            OrderSide::Sell => &self.taken_asks,
        };
        self.book.levels(side).filter_map(|level| {
            let left = match taken.get(&level.price) {
                Some(taken) => level.quantity.minus(*taken).ok()?,
                None => level.quantity,
            };
            left.is_positive().then_some((level.price, left))
        })
    }

    /// A trade on the outside market meets what rests.
    fn traded(&mut self, trade: &MarketTrade, now: Timestamp) -> Vec<ExecutionReport> {
        if self.halted || self.resting.is_empty() {
            return Vec::new();
        }
        let mut reports = Vec::new();
        // What our own orders have already had of this trade.
        let mut used = Quantity::zero(trade.quantity.asset());
        for id in self.resting.reached_by(trade.price) {
            let Some(report) = self.reached_by(&id, trade, &mut used, now) else { continue };
            reports.push(report);
            if self.placed(&id).is_some_and(|placed| !placed.is_open()) {
                self.remove(&id);
            }
        }
        reports
    }

    fn reached_by(
        &mut self,
        id: &OrderId,
        trade: &MarketTrade,
        used: &mut Quantity,
        now: Timestamp,
    ) -> Option<ExecutionReport> {
        let evidence = self.evidence();
        let VenueOrder { order, place, attempt } = self.orders.get_mut(id)?;
        let Place::Resting { ahead, .. } = place else { return None };
        let placed = order.placed().ok()?;
        let (limit, number) = (placed.worst_price()?, placed.fill_count + 1);
        let beyond = limit != trade.price;
        let was_ahead = *ahead;
        let available = if beyond {
            placed.remaining().ok()??
        } else if trade.taker_side == placed.ticket.side {
            // Takers of our own side trade with the other one.
            return None;
        } else {
            let before = was_ahead?;
            let left = trade.quantity.minus(before).ok()?;
            let nothing = Quantity::zero(before.asset());
            *ahead = Some(if left.is_negative() { left.negated() } else { nothing });
            left.minus(*used).ok().filter(Quantity::is_positive)?
        };
        // The queue has moved all the same.
        if self.frozen.contains(&placed.ticket.account_id) {
            return None;
        }
        let quantity =
            placed.fillable(limit, available, Liquidity::Maker).ok().filter(Quantity::is_positive)?;
        let evidence = Evidence {
            trade_id: Some(trade.trade_id),
            ahead: was_ahead.map(|ahead| ahead.to_decimal()),
            ..evidence
        };
        let filled = fill(order, limit, quantity, Liquidity::Maker, evidence, now)?;
        if !beyond {
            *used = used.plus(quantity).unwrap_or(trade.quantity);
        }
        Some(ExecutionReport {
            order_id: id.clone(),
            number,
            attempt: *attempt,
            fills: vec![filled],
            expired: None,
        })
    }

    /// The feed has spoken of these levels: what we took there is in its figures now, and no more than its quantity is ahead.
    fn levels_changed(&mut self, update: &DepthUpdate) {
        for (side, levels) in [(OrderSide::Buy, &update.bids), (OrderSide::Sell, &update.asks)] {
            for level in levels {
                self.taken(side).remove(&level.price);
                for id in self.resting.at(side, level.price) {
                    shorten(&mut self.orders, &id, level.quantity);
                }
            }
        }
    }

    /// A new book: nobody is further back than behind what it shows.
    fn look_ahead_again(&mut self) {
        for ours in self.orders.values_mut() {
            let Ok(placed) = ours.order.placed() else { continue };
            if let (Place::Resting { ahead, .. }, Some(limit)) = (&mut ours.place, placed.worst_price()) {
                let nothing = Quantity::zero(placed.ticket.base);
                let observed = self.book.quantity_at(placed.ticket.side, limit).unwrap_or(nothing);
                *ahead = Some(ahead.and_then(|ahead| ahead.min(observed).ok()).unwrap_or(observed));
            }
        }
    }

    fn rest(&mut self, id: &OrderId) {
        let Some(placed) = self.placed(id) else { return };
        let (side, base) = (placed.ticket.side, placed.ticket.base);
        let Some(limit) = placed.worst_price() else { return };
        let taken = match side {
            OrderSide::Buy => &self.taken_bids,
            OrderSide::Sell => &self.taken_asks,
        };
        let nothing = Quantity::zero(base);
        let ahead = self.book.is_ready().then(|| {
            let observed = self.book.quantity_at(side, limit).unwrap_or(nothing);
            let left = taken.get(&limit).and_then(|taken| observed.minus(*taken).ok()).unwrap_or(observed);
            if left.is_negative() { nothing } else { left }
        });
        self.arrivals += 1;
        let arrival = self.arrivals;
        self.resting.insert(side, limit, arrival, id.clone());
        if let Some(ours) = self.orders.get_mut(id) {
            ours.place = Place::Resting { arrival, ahead };
        }
    }

    fn unrest(&mut self, id: &OrderId) {
        let Some(ours) = self.orders.get(id) else { return };
        let (Place::Resting { arrival, .. }, Ok(placed)) = (&ours.place, ours.order.placed()) else { return };
        let Some(limit) = placed.worst_price() else { return };
        self.resting.remove(placed.ticket.side, limit, *arrival, id);
    }

    fn placed(&self, id: &OrderId) -> Option<&Placed> {
        self.orders.get(id)?.order.placed().ok()
    }

    fn taken(&mut self, side: OrderSide) -> &mut BTreeMap<Price, Quantity> {
        match side {
            OrderSide::Buy => &mut self.taken_bids,
            OrderSide::Sell => &mut self.taken_asks,
        }
    }

    fn forget_taken(&mut self) {
        self.taken_bids.clear();
        self.taken_asks.clear();
    }

    fn evidence(&self) -> Evidence {
        Evidence {
            feed: self.pass.feed.to_string(),
            pass: self.pass.number,
            update_id: self.book.last_update_id(),
            trade_id: None,
            ahead: None,
            levels: Vec::new(),
        }
    }

    /// The pass that the feed is playing.
    pub fn pass(&self) -> &Pass {
        &self.pass
    }
}

fn shorten(orders: &mut HashMap<OrderId, VenueOrder>, id: &OrderId, observed: Quantity) {
    if let Some(VenueOrder { place: Place::Resting { ahead: Some(ahead), .. }, .. }) = orders.get_mut(id) {
        *ahead = ahead.min(observed).unwrap_or(*ahead);
    }
}

/// Fills the order by its own rules; `None` if they do not allow it.
fn fill(
    order: &mut Order,
    price: Price,
    quantity: Quantity,
    liquidity: Liquidity,
    evidence: Evidence,
    now: Timestamp,
) -> Option<PaperFill> {
    let placed = order.placed().ok()?;
    let trade_id = TradeId::new(format!("{}.f{}", placed.order_id, placed.fill_count + 1));
    let command = OrderCommand::Fill {
        trade_id: trade_id.clone(),
        price,
        quantity,
        liquidity,
        evidence: Some(evidence.clone()),
    };
    let events = order.decide(&command, now).ok()?;
    events.iter().for_each(|event| order.apply(event));
    Some(PaperFill { trade_id, price, quantity, liquidity, evidence })
}
