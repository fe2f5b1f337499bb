//! The subscriptions: the log itself, and states that are sent now and after every change.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_graphql::{Context, ID, Subscription};
use asynk_strim::Yielder;
use domain::event::AnyEvent;
use domain::ids::{AccountId, OrderId, PortfolioId, Symbol};
use domain::market::{MarketEvent, Venue};
use domain::order::OrderEvent;
use domain::{Code, Timestamp};
use event_store::{
    EventFilter as LogFilter, Log, LogPosition as Place, PageRequest as LogPage, RecordedEvent,
};
use futures::{Stream, StreamExt};
use projections::read::{self, OrderFilter, PageRequest, ReadModels};
use tokio::sync::broadcast;

use super::context::{Services, principal, services};
use super::limits::{MAX_PAGE, list_cost};
use super::live::Change;
use super::query::{EventFilter, authorise_portfolio};
use super::scalars::LogPosition;
use super::types::{Account, Event, EventMask, Market, Order, Portfolio, Trade};
use crate::auth::rights::authorise_owner;
use crate::errors::{ApiError, Result};

/// Markets one ticker may have.
const MAX_SYMBOLS: usize = 100;
/// The pause before a state that could not be read is read again.
const PAUSE: Duration = Duration::from_millis(500);

/// What is sent as it happens.
pub struct Subscription;

/// Every message carries its log position, so a subscription resumes after one.
#[Subscription]
impl Subscription {
    /// The log from a position on, never skipping one; the reader keeps its own place. From now on without a position.
    async fn events(
        &self,
        ctx: &Context<'_>,
        after: Option<LogPosition>,
        filter: Option<EventFilter>,
    ) -> Result<impl Stream<Item = Result<Event>> + use<>> {
        let services = services(ctx)?;
        let filter = filter.unwrap_or_default();
        filter.check()?;
        let after = start(&services.log, after).await?.unwrap_or(services.log.head());
        let mask = EventMask::of(principal(ctx)?);
        Ok(services.log.subscribe(after).flat_map(move |batch| {
            let events: Vec<Result<Event>> = match batch {
                Ok(events) => events
                    .iter()
                    .filter(|event| filter.passes(event))
                    .map(|event| Event::new(event, mask))
                    .collect(),
                Err(error) => vec![Err(error.into())],
            };
            futures::stream::iter(events)
        }))
    }

    /// The account now and after every change; `after` skips what a reader has seen.
    async fn account(
        &self,
        ctx: &Context<'_>,
        id: ID,
        after: Option<LogPosition>,
    ) -> Result<impl Stream<Item = Result<Account>> + use<>> {
        let services = services(ctx)?.clone();
        let after = start(&services.log, after).await?;
        let not_found = || ApiError::new(Code::AccountNotFound, "there is no such account");
        let id: AccountId = id.parse().map_err(|_| not_found())?;
        let mut changes = services.changes.follow();
        let at = after.max(Some(changes.position()));
        let first = services.models.at_least(at).account(&id).await?;
        let row = first.value.clone().ok_or_else(not_found)?;
        authorise_owner(principal(ctx)?, &row.owner)?;
        let is_seen = match after {
            Some(after) => !is_touched(&services.log, &[("account", id.as_str())], after).await?,
            None => false,
        };
        Ok(asynk_strim::stream_fn(move |mut to: Yielder<Result<Account>>| async move {
            changes.skip_to(first.log_position);
            let mut last = row;
            if !is_seen {
                to.yield_item(Ok(Account::new(last.clone(), first.log_position, None))).await;
            }
            while let Some(at) = changes.touched(|event| is_of(event, "account", id.as_str())).await {
                let Some(answer) =
                    settled(|| async { services.models.at_least(Some(at)).account(&id).await }).await
                else {
                    continue;
                };
                changes.skip_to(answer.log_position);
                if let Some(row) = answer.value.filter(|row| *row != last) {
                    last = row.clone();
                    to.yield_item(Ok(Account::new(row, answer.log_position, None))).await;
                }
            }
        }))
    }

    /// The portfolio's orders now, each by itself, and after every change; `after` skips what a reader has seen.
    async fn orders(
        &self,
        ctx: &Context<'_>,
        portfolio_id: ID,
        after: Option<LogPosition>,
    ) -> Result<impl Stream<Item = Result<Order>> + use<>> {
        let services = services(ctx)?.clone();
        let after = start(&services.log, after).await?;
        let id = existing_portfolio(ctx, &services, &portfolio_id).await?;
        let seen_to = match after {
            Some(after) => services.log.recorded_at(after).await?,
            None => None,
        };
        Ok(asynk_strim::stream_fn(move |mut to: Yielder<Result<Order>>| async move {
            let mut known: HashSet<String> = HashSet::new();
            let mut changes = services.changes.follow();
            let first = after.max(Some(changes.position()));
            let Some(read_at) =
                send_orders(&services.models.at_least(first), &id, seen_to, &mut known, &mut to).await
            else {
                return;
            };
            changes.skip_to(read_at);
            while let Some(change) = changes.next().await {
                let batch = match change {
                    Change::Batch(batch) => batch,
                    Change::Missed(at) => {
                        // Everything again: which order has changed is not known.
                        let models = services.models.at_least(Some(at));
                        match send_orders(&models, &id, None, &mut known, &mut to).await {
                            Some(read_at) => changes.skip_to(read_at),
                            None => return,
                        }
                        continue;
                    }
                };
                let mut changed: Vec<OrderId> = Vec::new();
                for event in batch.events.iter().filter(|event| event.aggregate_type == "order") {
                    if (known.contains(&*event.aggregate_id) || is_placed_in(event, &id))
                        && !changed.iter().any(|id| id.as_str() == &*event.aggregate_id)
                    {
                        known.insert(event.aggregate_id.to_string());
                        changed.push(OrderId::new(Arc::clone(&event.aggregate_id)));
                    }
                }
                let models = services.models.at_least(Some(batch.end));
                for order_id in changed {
                    let answer = settled(|| async { models.order(&order_id).await }).await;
                    if let Some(order) = answer.and_then(|answer| Order::of(answer, None)) {
                        to.yield_item(Ok(order)).await;
                    }
                }
            }
        }))
    }

    /// The portfolio now and after every change, of prices too; `after` skips what a reader has seen.
    async fn portfolio(
        &self,
        ctx: &Context<'_>,
        id: ID,
        after: Option<LogPosition>,
    ) -> Result<impl Stream<Item = Result<Portfolio>> + use<>> {
        let services = services(ctx)?.clone();
        let after = start(&services.log, after).await?;
        let id = existing_portfolio(ctx, &services, &id).await?;
        let mut changes = services.changes.follow();
        let at = after.max(Some(changes.position()));
        let first = services.models.at_least(at).portfolio(&id).await?;
        let not_found = || ApiError::new(Code::PortfolioNotFound, "there is no such portfolio");
        let row = first.value.clone().ok_or_else(not_found)?;
        let is_seen = match after {
            Some(after) => {
                let streams = portfolio_streams(&row);
                let streams: Vec<(&str, &str)> =
                    streams.iter().map(|(kind, id)| (*kind, id.as_str())).collect();
                !is_touched(&services.log, &streams, after).await?
            }
            None => false,
        };
        Ok(asynk_strim::stream_fn(move |mut to: Yielder<Result<Portfolio>>| async move {
            changes.skip_to(first.log_position);
            let mut last = row;
            let mut streams = portfolio_streams(&last);
            if !is_seen {
                to.yield_item(Ok(Portfolio::new(last.clone(), first.log_position, None))).await;
            }
            while let Some(at) =
                changes.touched(|event| streams.iter().any(|(kind, id)| is_of(event, kind, id))).await
            {
                let Some(answer) =
                    settled(|| async { services.models.at_least(Some(at)).portfolio(&id).await }).await
                else {
                    continue;
                };
                changes.skip_to(answer.log_position);
                if let Some(row) = answer.value.filter(|row| *row != last) {
                    streams = portfolio_streams(&row);
                    last = row.clone();
                    to.yield_item(Ok(Portfolio::new(row, answer.log_position, None))).await;
                }
            }
        }))
    }

    /// Each market now and whenever its prices or its status change.
    #[graphql(complexity = "list_cost(symbols.len(), child_complexity)")]
    async fn ticker(
        &self,
        ctx: &Context<'_>,
        symbols: Vec<String>,
    ) -> Result<impl Stream<Item = Result<Market>> + use<>> {
        if symbols.is_empty() || symbols.len() > MAX_SYMBOLS {
            return Err(ApiError::new(Code::BadRequest, format!("symbols must be 1 to {MAX_SYMBOLS}")));
        }
        let services = services(ctx)?.clone();
        let mut changes = services.changes.follow();
        let now = services.models.at_least(Some(changes.position())).markets().await?;
        let mut firsts = Vec::new();
        for symbol in symbols.iter().collect::<HashSet<_>>() {
            let row = now.value.iter().find(|row| row.instrument.symbol.as_str() == symbol);
            firsts.push(row.cloned().ok_or_else(|| {
                ApiError::new(Code::MarketNotFound, "there is no market with one of the symbols")
            })?);
        }
        Ok(asynk_strim::stream_fn(move |mut to: Yielder<Result<Market>>| async move {
            changes.skip_to(now.log_position);
            let symbols: Vec<Symbol> = firsts.iter().map(|row| row.instrument.symbol.clone()).collect();
            for row in firsts {
                to.yield_item(Ok(Market::new(row, now.log_position, None))).await;
            }
            while let Some(change) = changes.next().await {
                let (at, changed): (Place, Vec<&Symbol>) = match &change {
                    Change::Missed(at) => (*at, symbols.iter().collect()),
                    Change::Batch(batch) => {
                        let is_touched = |symbol: &&Symbol| {
                            batch.events.iter().any(|event| {
                                is_of(event, "quote", symbol.as_str())
                                    || is_of(event, "market", symbol.as_str())
                            })
                        };
                        (batch.end, symbols.iter().filter(is_touched).collect())
                    }
                };
                let models = services.models.at_least(Some(at));
                for symbol in changed {
                    let answer = settled(|| async { models.market(symbol).await }).await;
                    if let Some(market) = answer.and_then(|answer| Market::of(answer, None)) {
                        to.yield_item(Ok(market)).await;
                    }
                }
            }
        }))
    }

    /// The market's trades from now on.
    async fn trades(
        &self,
        ctx: &Context<'_>,
        symbol: String,
    ) -> Result<futures::stream::BoxStream<'static, Result<Trade>>> {
        let services = services(ctx)?;
        let not_found = || ApiError::new(Code::MarketNotFound, "there is no such market");
        let symbol: Symbol = symbol.parse().map_err(|_| not_found())?;
        let market = services.models.market(&symbol).await?.value.ok_or_else(not_found)?;
        match market.instrument.venue {
            Venue::Internal => Ok(internal_trades(&services.log, symbol).boxed()),
            Venue::Paper => match services.observed.subscribe(&symbol) {
                Some(ticks) => Ok(observed_trades(ticks).boxed()),
                // Nothing observes it, so there are none.
                None => Ok(futures::stream::pending().boxed()),
            },
        }
    }
}

/// Where a reader goes on.
///
/// # Errors
/// [`Code::BeyondHead`] if the log has not got there.
async fn start(log: &Log, after: Option<LogPosition>) -> Result<Option<Place>> {
    if let Some(after) = after
        && after.0 > log.head()
        && after.0 > log.read_head().await?
    {
        return Err(ApiError::of(Code::BeyondHead));
    }
    Ok(after.map(|after| after.0))
}

fn is_of(event: &RecordedEvent, aggregate_type: &str, aggregate_id: &str) -> bool {
    event.aggregate_type == aggregate_type && &*event.aggregate_id == aggregate_id
}

/// Whether one of the streams has an event after the place.
async fn is_touched(log: &Log, streams: &[(&str, &str)], after: Place) -> Result<bool> {
    for (aggregate_type, aggregate_id) in streams {
        let filter = LogFilter {
            aggregate_type: Some((*aggregate_type).to_owned()),
            aggregate_id: Some((*aggregate_id).to_owned()),
            ..LogFilter::default()
        };
        if !log.page(&filter, LogPage::forward(after, 1)).await?.events.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The streams whose events change what a portfolio shows.
fn portfolio_streams(row: &read::Portfolio) -> Vec<(&'static str, String)> {
    let mut streams = vec![
        ("portfolio", row.portfolio_id.to_string()),
        ("account", row.cash_account.account_id.to_string()),
    ];
    for symbol in row.positions.iter().filter_map(|position| position.symbol.as_ref()) {
        streams.push(("quote", symbol.to_string()));
        streams.push(("market", symbol.to_string()));
    }
    streams
}

async fn existing_portfolio(ctx: &Context<'_>, services: &Services, id: &ID) -> Result<PortfolioId> {
    let not_found = || ApiError::new(Code::PortfolioNotFound, "there is no such portfolio");
    let id: PortfolioId = id.parse().map_err(|_| not_found())?;
    authorise_portfolio(principal(ctx)?, &services.models, &id).await?;
    match services.models.portfolio(&id).await?.value {
        Some(_) => Ok(id),
        None => Err(not_found()),
    }
}

/// Reads until the read model answers: a subscriber waits out what a query would be told.
async fn settled<T, F>(mut read: impl FnMut() -> F) -> Option<read::Read<T>>
where
    F: Future<Output = std::result::Result<read::Read<T>, read::ReadError>>,
{
    loop {
        match read().await {
            Ok(answer) => return Some(answer),
            Err(error @ (read::ReadError::Corrupt { .. } | read::ReadError::InvalidCursor)) => {
                tracing::error!(%error, "a subscription cannot read its state");
                return None;
            }
            Err(error) => {
                tracing::debug!(%error, "a subscription waits for its read model");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Sends all orders of a portfolio that have changed since a moment, and returns where they were read first.
async fn send_orders(
    models: &ReadModels,
    id: &PortfolioId,
    seen_to: Option<Timestamp>,
    known: &mut HashSet<String>,
    to: &mut Yielder<Result<Order>>,
) -> Option<Place> {
    let filter = OrderFilter { portfolio_id: Some(id.clone()), ..OrderFilter::default() };
    let mut page = PageRequest::forward(MAX_PAGE, None);
    let mut read_at = None;
    loop {
        let answer = settled(|| async { models.orders(&filter, &page).await }).await?;
        // What changes while the pages are read comes again after the first one's place.
        read_at.get_or_insert(answer.log_position);
        page.after = answer.value.edges.last().map(|edge| edge.cursor.clone());
        for edge in answer.value.edges {
            known.insert(edge.node.order_id.to_string());
            // The same moment may be one before or after the place: rather twice than never.
            if seen_to.is_none_or(|seen_to| edge.node.updated_at >= seen_to) {
                to.yield_item(Ok(Order::new(edge.node, answer.log_position, None))).await;
            }
        }
        if !answer.value.has_next {
            return read_at;
        }
    }
}

fn decoded(event: &RecordedEvent) -> Option<AnyEvent> {
    AnyEvent::decode(&event.aggregate_type, &event.event_type, &event.event_version, &event.payload)
        .inspect_err(|error| tracing::error!(%error, "a subscription cannot read an event"))
        .ok()
}

fn is_placed_in(event: &RecordedEvent, portfolio_id: &PortfolioId) -> bool {
    event.event_type == "OrderPlaced"
        && matches!(decoded(event), Some(AnyEvent::Order(OrderEvent::OrderPlaced { ticket, .. }))
            if ticket.portfolio_id == *portfolio_id)
}

fn internal_trades(log: &Log, symbol: Symbol) -> impl Stream<Item = Result<Trade>> + Send + use<> {
    log.subscribe(log.head()).flat_map(move |batch| {
        let trades: Vec<Result<Trade>> = match batch {
            Ok(events) => events
                .iter()
                .filter(|event| {
                    is_of(event, "market", symbol.as_str()) && event.event_type == "TradeExecuted"
                })
                .filter_map(|event| Some((event, decoded(event)?)))
                .filter_map(|(event, decoded)| match decoded {
                    AnyEvent::Market(MarketEvent::TradeExecuted {
                        trade_id,
                        price,
                        quantity,
                        taker_side,
                        ..
                    }) => Some(Ok(Trade::from(read::Trade {
                        trade_id,
                        symbol: symbol.clone(),
                        price,
                        quantity,
                        taker_side,
                        at: event.recorded_at,
                        log_position: event.log_position,
                    }))),
                    _ => None,
                })
                .collect(),
            Err(error) => vec![Err(error.into())],
        };
        futures::stream::iter(trades)
    })
}

fn observed_trades(
    ticks: broadcast::Receiver<Arc<processes::tick_archive::Tick>>,
) -> impl Stream<Item = Result<Trade>> + Send + use<> {
    futures::stream::unfold(ticks, |mut ticks| async move {
        match ticks.recv().await {
            Ok(tick) => Some((Ok(Trade::from(&*tick)), ticks)),
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                let error = ApiError::new(
                    Code::Overloaded,
                    format!("{missed} trades came faster than they were read"),
                );
                Some((Err(error), ticks))
            }
            Err(broadcast::error::RecvError::Closed) => None,
        }
    })
}
