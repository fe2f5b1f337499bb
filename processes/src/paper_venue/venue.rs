//! The paper venue as a process: reads orders from the log and the market from its feeds, lets the pure exchanges answer, and
//! issues their answers as commands.
//!
//! Reports of one order go one after the other, those of different orders side by side. Keys follow from order, number of the
//! fill, pass and attempt, so asking again after a lost answer never fills twice; over a restart the log's own numbering of fills
//! guards the same. A start continues from the saved fold of the log and first reads on to its end.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use commands::request::{Outcome, ReportExecution, VenueFill};
use commands::{Command, Failure, Receipt};
use domain::event::AnyEvent;
use domain::ids::{OrderId, Symbol};
use event_store::{Log, LogPosition, ProcessStates, RecordedEvent};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::dispatch::Dispatcher;
use crate::error::ProcessError;
use crate::feed::playback::now;
use crate::observed_markets::ObservedMarkets;
use crate::paper_venue::open_orders::{Change, OpenOrders};
use crate::paper_venue::{ExecutionReport, PaperExchange};

/// Name of the process and of its saved state.
pub(crate) const NAME: &str = "paper-venue";

const EVENTS_A_READ: usize = 2_000;
/// Without anything new about orders, how often the log position is saved.
const IDLE_SAVE: Duration = Duration::from_secs(60);

pub(crate) async fn run(
    log: Log,
    states: ProcessStates,
    observed: ObservedMarkets,
    dispatcher: Dispatcher,
    shutdown: CancellationToken,
) -> Result<(), ProcessError> {
    let (mut position, mut known) = match states.load(NAME).await? {
        Some((position, saved)) => (position, OpenOrders::load(saved)?),
        None => (LogPosition::ZERO, OpenOrders::default()),
    };
    loop {
        let events = log.read(position, EVENTS_A_READ).await?;
        let Some(last) = events.last() else { break };
        for event in &events {
            apply(&mut known, event)?;
        }
        position = last.log_position;
        if shutdown.is_cancelled() {
            return Ok(());
        }
    }
    let mut subscription = observed.subscribe();
    let mut venue = PaperVenue::open(known, &mut subscription.markets, dispatcher);
    let mut saved = (position, Instant::now());
    let mut changed = true;
    let mut events = log.subscribe(position);
    loop {
        let save_at = saved.1 + venue.save_after(changed);
        tokio::select! {
            // What the log says comes first: a cancellation before the trade that it forestalls.
            biased;
            () = shutdown.cancelled() => break,
            batch = events.next() => {
                for event in batch.ok_or(ProcessError::Ended)?? {
                    if let Some(change) = apply(&mut venue.known, &event)? {
                        venue.changed(change);
                        changed = true;
                    }
                    position = event.log_position;
                }
            }
            Some((report, answer)) = venue.under_way.next(), if !venue.under_way.is_empty() => {
                venue.answered(report, answer);
            }
            message = subscription.messages.recv() => {
                let (symbol, message) = message.ok_or(ProcessError::FellBehind)?;
                if let Some(exchange) = venue.exchanges.get_mut(&symbol) {
                    let reports = exchange.observe(&message);
                    venue.report(reports);
                }
            }
            () = tokio::time::sleep_until(save_at) => {
                if position > saved.0 {
                    states.save(NAME, position, &venue.state()?).await?;
                }
                saved = (position, Instant::now());
                changed = false;
            }
        }
    }
    states.save(NAME, position, &venue.state()?).await?;
    Ok(())
}

fn apply(known: &mut OpenOrders, event: &RecordedEvent) -> Result<Option<Change>, ProcessError> {
    if !known.concerns(&event.aggregate_type, &event.aggregate_id, &event.event_type) {
        return Ok(None);
    }
    let decoded =
        AnyEvent::decode(&event.aggregate_type, &event.event_type, &event.event_version, &event.payload)?;
    let correlation_id = || event.metadata().ok()?.get("correlation_id")?.parse().ok();
    Ok(known.apply(&event.aggregate_id, event.log_position, correlation_id, &decoded))
}

type Answer = (ExecutionReport, Result<Receipt, Failure>);

struct PaperVenue {
    known: OpenOrders,
    exchanges: BTreeMap<Symbol, PaperExchange>,
    dispatcher: Dispatcher,
    /// For each order with a report under way, the reports that come after it.
    queues: HashMap<OrderId, VecDeque<(ExecutionReport, u64)>>,
    under_way: FuturesUnordered<BoxFuture<'static, Answer>>,
}

impl PaperVenue {
    /// A venue with an exchange for each observed market, in which the known orders rest or arrive again.
    fn open(
        known: OpenOrders,
        markets: &mut BTreeMap<Symbol, crate::observed_markets::ObservedMarket>,
        dispatcher: Dispatcher,
    ) -> Self {
        let mut venue = Self {
            exchanges: std::mem::take(markets)
                .into_iter()
                .map(|(symbol, market)| (symbol, PaperExchange::new(market.book, market.pass)))
                .collect(),
            known,
            dispatcher,
            queues: HashMap::new(),
            under_way: FuturesUnordered::new(),
        };
        for (symbol, exchange) in &mut venue.exchanges {
            if venue.known.halted.contains(symbol) {
                exchange.halt();
            }
            venue.known.frozen.iter().for_each(|account| exchange.freeze(account.clone()));
        }
        let mut reports = Vec::new();
        for open in venue.known.in_order() {
            let Some(exchange) = open.symbol().and_then(|symbol| venue.exchanges.get_mut(symbol)) else {
                continue;
            };
            if open.rested {
                exchange.rest_again(open.order.clone());
            } else {
                reports.extend(exchange.arrive(open.order.clone(), now()));
            }
        }
        venue.report(reports);
        venue
    }

    fn exchange_of(&mut self, id: &OrderId) -> Option<(&mut PaperExchange, &domain::order::Order)> {
        let order = &self.known.orders.get(id)?.order;
        let symbol = &order.placed().ok()?.ticket.symbol;
        Some((self.exchanges.get_mut(symbol)?, order))
    }

    /// What the log has told.
    fn changed(&mut self, change: Change) {
        let reports = match change {
            Change::Accepted(id) => match self.exchange_of(&id) {
                Some((exchange, order)) => exchange.arrive(order.clone(), now()),
                None => Vec::new(),
            },
            Change::Filled(id) => {
                if let Some((exchange, order)) = self.exchange_of(&id) {
                    exchange.confirm(order);
                }
                Vec::new()
            }
            Change::Ended(id, symbol) => {
                if let Some(exchange) = self.exchanges.get_mut(&symbol) {
                    exchange.remove(&id);
                }
                Vec::new()
            }
            Change::Halted(symbol) => {
                self.exchanges.get_mut(&symbol).into_iter().for_each(PaperExchange::halt);
                Vec::new()
            }
            Change::Resumed(symbol) => {
                self.exchanges.get_mut(&symbol).map(|exchange| exchange.resume(now())).unwrap_or_default()
            }
            Change::Frozen(account) => {
                self.exchanges.values_mut().for_each(|exchange| exchange.freeze(account.clone()));
                Vec::new()
            }
            Change::Unfrozen(account) => {
                self.exchanges.values_mut().flat_map(|exchange| exchange.unfreeze(&account, now())).collect()
            }
        };
        self.report(reports);
    }

    /// Sends reports on their way, each after the earlier ones of its order.
    fn report(&mut self, reports: Vec<ExecutionReport>) {
        for report in reports {
            let pass = self
                .exchange_of(&report.order_id)
                .map(|(exchange, _)| exchange.pass().number)
                .unwrap_or_default();
            match self.queues.get_mut(&report.order_id) {
                Some(queue) => queue.push_back((report, pass)),
                None => {
                    self.queues.insert(report.order_id.clone(), VecDeque::new());
                    self.send(report, pass);
                }
            }
        }
    }

    fn send(&mut self, report: ExecutionReport, pass: u64) {
        let known = self.known.orders.get(&report.order_id);
        let correlation_id = known.and_then(|open| open.correlation_id).unwrap_or_else(Uuid::now_v7);
        let key = format!("fill:{}:{}:{pass}:{}", report.order_id, report.number, report.attempt);
        let fills = report.fills.iter().map(|fill| VenueFill {
            trade_id: fill.trade_id.clone(),
            price: fill.price,
            quantity: fill.quantity,
            liquidity: fill.liquidity,
            evidence: fill.evidence.clone(),
        });
        let command = Command::ReportExecution(ReportExecution {
            order_id: report.order_id.clone(),
            fills: fills.collect(),
            expired: report.expired,
        });
        let dispatcher = self.dispatcher.clone();
        self.under_way.push(Box::pin(async move {
            let answer = dispatcher.send(key, correlation_id, command).await;
            (report, answer)
        }));
    }

    /// A report is in the log, or was refused: then it and those after it did not happen.
    fn answered(&mut self, report: ExecutionReport, answer: Result<Receipt, Failure>) {
        let refused = match answer {
            Ok(Receipt { outcome: Outcome::Accepted(_), .. }) => None,
            Ok(Receipt { outcome: Outcome::Refused(refusal), .. }) => Some(refusal.to_string()),
            Err(failure) => Some(failure.to_string()),
        };
        if let Some(reason) = refused {
            tracing::info!(order = %report.order_id, %reason, "an execution was refused");
            metrics::counter!("daybook_paper_executions_refused_total").increment(1);
            self.queues.remove(&report.order_id);
            if let Some((exchange, order)) = self.exchange_of(&report.order_id) {
                let confirmed = order.clone();
                exchange.refused(&report, confirmed);
            }
            return;
        }
        let fills = report.fills.len() as u64;
        metrics::counter!("daybook_paper_fills_total").increment(fills);
        match self.queues.get_mut(&report.order_id).and_then(VecDeque::pop_front) {
            Some((next, pass)) => self.send(next, pass),
            None => {
                self.queues.remove(&report.order_id);
            }
        }
    }

    /// How long after a save the next one comes: soon after a change, less often the more there is to save.
    fn save_after(&self, changed: bool) -> Duration {
        if !changed {
            return IDLE_SAVE;
        }
        Duration::from_millis(1_000 + 10 * self.known.orders.len() as u64).min(IDLE_SAVE)
    }

    fn state(&self) -> Result<serde_json::Value, serde_json::Error> {
        self.known.save(|open| {
            let exchange = open.symbol().and_then(|symbol| self.exchanges.get(symbol));
            match (exchange, open.order.placed()) {
                (Some(exchange), Ok(placed)) => exchange.is_resting(&placed.order_id),
                _ => open.rested,
            }
        })
    }
}
