//! The queries.

use async_graphql::connection::Edge;
use async_graphql::{Context, ID, InputObject, Object, OneofObject};
use commands::Principal;
use domain::Code;
use domain::ids::{AccountId, MovementId, OrderId, PortfolioId, Symbol};
use event_store::{Log, LogPosition as Place, RecordedEvent};
use projections::read::{IndexFilter, OrderFilter, ReadModels};

use super::context::{models, not_supported, only_owner, page, page_size, position, principal, services};
use super::enums::OrderStatus;
use super::limits::{MAX_PAGE, list_cost, page_cost};
use super::scalars::{DateTime, LogPosition};
use super::types::{
    Account, Connection, Event, EventMask, Loan, Market, Order, Portfolio, ProjectionStatus, Statement,
    Transfer, TrialBalanceLine, connection,
};
use crate::auth::rights::authorise_owner;
use crate::errors::{ApiError, Result};

/// One of the three. recordedAt: as we knew it then. effectiveAt: as it counted then, by what we know now. Not yet working.
#[derive(OneofObject, Clone, Debug)]
pub enum AsOf {
    /// As of a place in the log.
    LogPosition(LogPosition),
    /// As we knew it then.
    RecordedAt(DateTime),
    /// As it counted then, by what we know now.
    EffectiveAt(DateTime),
}

/// Which events; what is absent does not restrict.
#[derive(InputObject, Clone, Debug, Default)]
pub struct EventFilter {
    /// account, portfolio, order, market or quote.
    pub aggregate_type: Option<String>,
    /// Id of the aggregate.
    pub aggregate_id: Option<ID>,
    /// Names of events.
    pub types: Option<Vec<String>>,
    /// Name of the key that caused them.
    pub actor: Option<String>,
    /// The request that caused them.
    pub correlation_id: Option<ID>,
    /// The command that caused them.
    pub command_id: Option<ID>,
    /// Recorded at or after.
    pub from: Option<DateTime>,
    /// Recorded before.
    pub to: Option<DateTime>,
}

/// Values of a filter that are longer are not looked for.
const MAX_FILTER_TEXT: usize = 256;
/// Names of events a filter may have.
const MAX_FILTER_TYPES: usize = 100;

impl EventFilter {
    /// Refuses values that cannot be looked for.
    ///
    /// # Errors
    /// [`Code::BadRequest`].
    pub fn check(&self) -> Result<()> {
        let ids = [&self.aggregate_id, &self.correlation_id, &self.command_id];
        let texts = [&self.aggregate_type, &self.actor];
        let types = self.types.iter().flatten();
        let is_clean = |text: &str| text.len() <= MAX_FILTER_TEXT && !text.chars().any(char::is_control);
        let mut all = ids
            .into_iter()
            .flatten()
            .map(|id| id.as_str())
            .chain(texts.into_iter().flatten().map(String::as_str))
            .chain(types.clone().map(String::as_str));
        if types.count() > MAX_FILTER_TYPES || !all.all(is_clean) {
            return Err(ApiError::new(
                Code::BadRequest,
                "the filter holds text that is too long or not clean",
            ));
        }
        Ok(())
    }

    fn uses_index(&self) -> bool {
        self.actor.is_some() || self.correlation_id.is_some() || self.command_id.is_some()
    }

    fn of_log(&self) -> event_store::EventFilter {
        event_store::EventFilter {
            aggregate_type: self.aggregate_type.clone(),
            aggregate_id: self.aggregate_id.as_ref().map(|id| id.to_string()),
            event_types: self.types.clone().unwrap_or_default(),
            recorded_from: self.from.map(|moment| moment.0),
            recorded_before: self.to.map(|moment| moment.0),
        }
    }

    /// Whether the event passes.
    pub fn passes(&self, event: &RecordedEvent) -> bool {
        let same =
            |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
        let passes = same(&self.aggregate_type, &event.aggregate_type)
            && self.aggregate_id.as_ref().is_none_or(|id| id.as_str() == &*event.aggregate_id)
            && self.types.as_ref().is_none_or(|types| {
                types.is_empty() || types.iter().any(|wanted| *wanted == event.event_type)
            })
            && self.from.is_none_or(|from| event.recorded_at >= from.0)
            && self.to.is_none_or(|to| event.recorded_at < to.0);
        if !passes || !self.uses_index() {
            return passes;
        }
        let Ok(metadata) = serde_json::from_str::<event_store::Metadata>(&event.metadata) else {
            return false;
        };
        let has = |name: &str, wanted: Option<&str>| {
            wanted.is_none_or(|wanted| metadata.get(name).is_some_and(|value| value == wanted))
        };
        has("actor", self.actor.as_deref())
            && has("correlation_id", self.correlation_id.as_deref().map(String::as_str))
            && has("command_id", self.command_id.as_deref().map(String::as_str))
    }
}

/// The reads.
pub struct Query;

/// atLeast: answer only from a read model that has reached it (read your own writes).
#[Object]
impl Query {
    /// The last log position.
    async fn head(&self, ctx: &Context<'_>) -> Result<LogPosition> {
        Ok(services(ctx)?.log.read_head().await?.into())
    }

    /// Identity of this log; a restored log is another one.
    async fn log_id(&self, ctx: &Context<'_>) -> Result<ID> {
        Ok(ID::from(services(ctx)?.log.log_id().to_string()))
    }

    /// The account with this id.
    async fn account(
        &self,
        ctx: &Context<'_>,
        id: ID,
        at_least: Option<LogPosition>,
        as_of: Option<AsOf>,
    ) -> Result<Option<Account>> {
        refuse_as_of(as_of)?;
        let Ok(id) = id.parse::<AccountId>() else { return Ok(None) };
        let answer = models(ctx, position(at_least))?.account(&id).await?;
        if let Some(row) = &answer.value {
            authorise_owner(principal(ctx)?, &row.owner)?;
        }
        Ok(Account::of(answer, position(at_least)))
    }

    /// Not yet working. Opening balance, lines and closing balance of a period by effective time.
    async fn statement(
        &self,
        account_id: ID,
        from: DateTime,
        to: DateTime,
        #[graphql(default = 50)] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Statement> {
        let _ = (account_id, from, to, first, after);
        Err(not_supported("a statement"))
    }

    /// Not yet working.
    async fn loan(&self, id: ID, at_least: Option<LogPosition>) -> Result<Option<Loan>> {
        let _ = (id, at_least);
        Err(not_supported("credit"))
    }

    /// Accounts of one owner or of all, in the order in which they were opened.
    #[graphql(complexity = "page_cost(first, None, child_complexity)")]
    async fn accounts(
        &self,
        ctx: &Context<'_>,
        owner: Option<String>,
        #[graphql(default = 50)] first: Option<i32>,
        after: Option<String>,
        at_least: Option<LogPosition>,
    ) -> Result<Connection<Account>> {
        let request = page(first, after)?;
        let owner = visible_owner(principal(ctx)?, owner.as_deref())?;
        let answer = models(ctx, position(at_least))?.accounts(owner, &request).await?;
        let read_at = answer.log_position;
        Ok(connection(answer.value, request.after.is_some(), |row| {
            Account::new(row, read_at, position(at_least))
        }))
    }

    /// The transfer with this id.
    async fn transfer(
        &self,
        ctx: &Context<'_>,
        id: ID,
        at_least: Option<LogPosition>,
    ) -> Result<Option<Transfer>> {
        let Ok(id) = id.parse::<MovementId>() else { return Ok(None) };
        let principal = principal(ctx)?;
        let models = models(ctx, position(at_least))?;
        let Some(row) = models.transfer(&id).await?.value else { return Ok(None) };
        if !principal.role.reads_everything() {
            let parties = models.accounts_by_id(&[row.from.clone(), row.to.clone()]).await?.value;
            if !parties.iter().any(|account| principal.acts_for(&account.owner)) {
                return Err(ApiError::new(
                    Code::Forbidden,
                    "this belongs to another owner; use a key of that owner",
                ));
            }
        }
        Ok(Some(Transfer::new(row, principal)))
    }

    /// The portfolio with this id.
    async fn portfolio(
        &self,
        ctx: &Context<'_>,
        id: ID,
        at_least: Option<LogPosition>,
        as_of: Option<AsOf>,
    ) -> Result<Option<Portfolio>> {
        refuse_as_of(as_of)?;
        let Ok(id) = id.parse::<PortfolioId>() else { return Ok(None) };
        let answer = models(ctx, position(at_least))?.portfolio(&id).await?;
        if let Some(row) = &answer.value {
            authorise_owner(principal(ctx)?, &row.owner)?;
        }
        Ok(Portfolio::of(answer, position(at_least)))
    }

    /// Portfolios of one owner or of all, in the order in which they were opened.
    #[graphql(complexity = "page_cost(first, None, child_complexity)")]
    async fn portfolios(
        &self,
        ctx: &Context<'_>,
        owner: Option<String>,
        #[graphql(default = 50)] first: Option<i32>,
        after: Option<String>,
        at_least: Option<LogPosition>,
    ) -> Result<Connection<Portfolio>> {
        let request = page(first, after)?;
        let owner = visible_owner(principal(ctx)?, owner.as_deref())?;
        let answer = models(ctx, position(at_least))?.portfolios(owner, &request).await?;
        let read_at = answer.log_position;
        Ok(connection(answer.value, request.after.is_some(), |row| {
            Portfolio::new(row, read_at, position(at_least))
        }))
    }

    /// The order with this id.
    async fn order(
        &self,
        ctx: &Context<'_>,
        id: ID,
        at_least: Option<LogPosition>,
        as_of: Option<AsOf>,
    ) -> Result<Option<Order>> {
        refuse_as_of(as_of)?;
        let Ok(id) = id.parse::<OrderId>() else { return Ok(None) };
        let answer = models(ctx, position(at_least))?.order(&id).await?;
        if let Some(row) = &answer.value {
            authorise_owner(principal(ctx)?, &row.owner)?;
        }
        Ok(Order::of(answer, position(at_least)))
    }

    /// The orders that pass the filter, in the order in which they were placed.
    #[graphql(complexity = "page_cost(first, None, child_complexity)")]
    #[expect(clippy::too_many_arguments, reason = "they are the field's in the schema")]
    async fn orders(
        &self,
        ctx: &Context<'_>,
        portfolio_id: Option<ID>,
        symbol: Option<String>,
        status: Option<Vec<OrderStatus>>,
        #[graphql(default = 50)] first: Option<i32>,
        after: Option<String>,
        at_least: Option<LogPosition>,
    ) -> Result<Connection<Order>> {
        let principal = principal(ctx)?;
        let request = page(first, after)?;
        let models = models(ctx, position(at_least))?;
        let nothing = || Ok(Connection::new(false, false));
        let portfolio_id = match portfolio_id.map(|id| id.parse::<PortfolioId>()) {
            Some(Err(_)) => return nothing(),
            Some(Ok(id)) => {
                authorise_portfolio(principal, &models, &id).await?;
                Some(id)
            }
            None => None,
        };
        let symbol = match symbol.map(|symbol| symbol.parse::<Symbol>()) {
            Some(Err(_)) => return nothing(),
            Some(Ok(symbol)) => Some(symbol),
            None => None,
        };
        let filter = OrderFilter {
            owner: only_owner(principal).map(str::to_owned),
            portfolio_id,
            symbol,
            statuses: status.unwrap_or_default().into_iter().map(Into::into).collect(),
        };
        let answer = models.orders(&filter, &request).await?;
        let read_at = answer.log_position;
        Ok(connection(answer.value, request.after.is_some(), |row| {
            Order::new(row, read_at, position(at_least))
        }))
    }

    /// The market with this symbol.
    async fn market(
        &self,
        ctx: &Context<'_>,
        symbol: String,
        at_least: Option<LogPosition>,
    ) -> Result<Option<Market>> {
        let Ok(symbol) = symbol.parse::<Symbol>() else { return Ok(None) };
        let answer = models(ctx, position(at_least))?.market(&symbol).await?;
        Ok(Market::of(answer, position(at_least)))
    }

    /// All markets, by symbol.
    #[graphql(complexity = "list_cost(10, child_complexity)")]
    async fn markets(&self, ctx: &Context<'_>) -> Result<Vec<Market>> {
        let answer = models(ctx, None)?.markets().await?;
        let read_at = answer.log_position;
        Ok(answer.value.into_iter().map(|row| Market::new(row, read_at, None)).collect())
    }

    /// Per asset, each column from its own read model; difference is always zero.
    async fn trial_balance(
        &self,
        ctx: &Context<'_>,
        at_least: Option<LogPosition>,
    ) -> Result<Vec<TrialBalanceLine>> {
        let answer = models(ctx, position(at_least))?.trial_balance().await?;
        Ok(answer.value.into_iter().map(Into::into).collect())
    }

    /// The log itself, newest last. Filters by actor, command and correlation are served by a projection, which does not list
    /// observed prices. The first events after a place, or the last before one.
    #[graphql(complexity = "page_cost(first, last, child_complexity)")]
    async fn events(
        &self,
        ctx: &Context<'_>,
        filter: Option<EventFilter>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Connection<Event>> {
        let filter = filter.unwrap_or_default();
        filter.check()?;
        let (limit, newest_first) = match (first, last) {
            (Some(_), Some(_)) => {
                return Err(ApiError::new(Code::BadRequest, "give first or last, not both"));
            }
            (None, Some(last)) => (page_size("last", last)?, true),
            (first, None) => (page_size("first", first.unwrap_or(50))?, false),
        };
        let span = EventSpan { after: cursor(after)?, before: cursor(before)?, limit, newest_first };
        let services = services(ctx)?;
        let (mut events, has_more) = if filter.uses_index() {
            indexed_events(&services.log, &services.models, &filter, span).await?
        } else {
            logged_events(&services.log, &filter, span).await?
        };
        if newest_first {
            events.reverse();
        }
        let mask = EventMask::of(principal(ctx)?);
        let mut found = Connection::new(
            if newest_first { has_more } else { span.after.is_some() },
            if newest_first { span.before.is_some() } else { has_more },
        );
        for event in &events {
            found.edges.push(Edge::new(event.log_position.to_string(), Event::new(event, mask)?));
        }
        Ok(found)
    }

    /// How far each projection is.
    async fn projections(&self, ctx: &Context<'_>) -> Result<Vec<ProjectionStatus>> {
        Ok(services(ctx)?.models.status().await?.into_iter().map(Into::into).collect())
    }
}

fn refuse_as_of(as_of: Option<AsOf>) -> Result<()> {
    if as_of.is_some() { Err(not_supported("asOf")) } else { Ok(()) }
}

/// Whose things are listed: a trader's own, whatever was asked for.
fn visible_owner<'a>(principal: &'a Principal, asked: Option<&'a str>) -> Result<Option<&'a str>> {
    match (only_owner(principal), asked) {
        (Some(_), Some(asked)) => {
            authorise_owner(principal, asked)?;
            Ok(Some(asked))
        }
        (own, asked) => Ok(own.or(asked)),
    }
}

/// Whether the principal may see the portfolio; one that is not there is nobody's.
///
/// # Errors
/// [`Code::Forbidden`].
pub async fn authorise_portfolio(principal: &Principal, models: &ReadModels, id: &PortfolioId) -> Result<()> {
    if principal.role.reads_everything() {
        return Ok(());
    }
    match models.portfolio(id).await?.value {
        Some(portfolio) => authorise_owner(principal, &portfolio.owner),
        None => Ok(()),
    }
}

/// Which stretch of the log is asked for.
#[derive(Clone, Copy)]
struct EventSpan {
    after: Option<Place>,
    before: Option<Place>,
    limit: usize,
    newest_first: bool,
}

/// A cursor of the log is a position.
fn cursor(text: Option<String>) -> Result<Option<Place>> {
    text.map(|text| {
        text.parse().map_err(|_| {
            ApiError::new(Code::BadRequest, "the cursor is not one that this list has given out")
        })
    })
    .transpose()
}

/// Events that the log itself finds, in the order of the span, and whether there are more.
async fn logged_events(
    log: &Log,
    filter: &EventFilter,
    span: EventSpan,
) -> Result<(Vec<RecordedEvent>, bool)> {
    let filter = filter.of_log();
    let mut request = event_store::PageRequest {
        after: span.after,
        before: span.before,
        limit: span.limit,
        newest_first: span.newest_first,
    };
    let mut events = Vec::new();
    // A page of rare events can be short and still have more: go on until it is full or the log ends.
    loop {
        let page = log.page(&filter, request).await?;
        events.extend(page.events);
        if !page.has_more || events.len() >= span.limit {
            return Ok((events, page.has_more));
        }
        request.limit = span.limit - events.len();
        if span.newest_first {
            request.before = Some(page.scanned_to);
        } else {
            request.after = Some(page.scanned_to);
        }
    }
}

/// Events that a projection finds by actor, command or correlation.
async fn indexed_events(
    log: &Log,
    models: &ReadModels,
    filter: &EventFilter,
    span: EventSpan,
) -> Result<(Vec<RecordedEvent>, bool)> {
    let mut wanted = IndexFilter {
        actor: filter.actor.clone(),
        command_id: filter.command_id.as_ref().map(|id| id.to_string()),
        correlation_id: filter.correlation_id.as_ref().map(|id| id.to_string()),
        after: span.after,
        before: span.before,
        newest_first: span.newest_first,
        limit: MAX_PAGE,
    };
    let mut events = Vec::new();
    loop {
        let page = models.event_positions(&wanted).await?.value;
        let Some(end) = page.positions.last().copied() else { return Ok((events, false)) };
        for (place, position) in page.positions.iter().enumerate() {
            let Some(event) = log.event(*position).await? else { continue };
            if filter.passes(&event) {
                events.push(event);
            }
            if events.len() >= span.limit {
                return Ok((events, page.has_more || place + 1 < page.positions.len()));
            }
        }
        if !page.has_more {
            return Ok((events, false));
        }
        if span.newest_first {
            wanted.before = Some(end);
        } else {
            wanted.after = Some(end);
        }
    }
}
