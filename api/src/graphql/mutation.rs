//! The mutations: each is a command to the bus, and its payload the receipt with the entity read after it.

use async_graphql::{Context, Object};
use commands::{Answer, Command, Outcome as Decided, Receipt, Request};
use domain::ids::{AccountId, HoldId, MovementId, OrderId, PortfolioId, Symbol};
use domain::{Code, Refusal};
use event_store::LogPosition;

use super::commands as parse;
use super::context::{correlation_id, models, principal, services};
use super::inputs::*;
use super::limits::{MAX_TRANSFERS, too_complex};
use super::payloads::{
    AccountPayload, Entity, HoldPayload, LoanPayload, MarketPayload, OcoPayload, OrderPayload, Outcome,
    PortfolioPayload, TradingSwitchPayload, TransferPayload, UserError,
};
use super::types::{Account, Hold, Market, Order, Portfolio, Transfer};
use crate::errors::{ApiError, Result};

/// The writes.
pub struct Mutation;

/// Every mutation takes an idempotencyKey and returns where in the log it landed.
#[Object]
impl Mutation {
    /// Opens an account; its id is in the answer.
    async fn open_account(&self, ctx: &Context<'_>, input: OpenAccountInput) -> Result<AccountPayload> {
        account_command(ctx, input.idempotency_key.clone(), parse::open_account(input)).await
    }

    /// Money comes in from the world.
    async fn deposit(&self, ctx: &Context<'_>, input: MoneyInput) -> Result<AccountPayload> {
        account_command(ctx, input.idempotency_key.clone(), parse::deposit(input)).await
    }

    /// Money goes out to the world.
    async fn withdraw(&self, ctx: &Context<'_>, input: MoneyInput) -> Result<AccountPayload> {
        account_command(ctx, input.idempotency_key.clone(), parse::withdraw(input)).await
    }

    /// Both legs in one commit.
    async fn transfer(&self, ctx: &Context<'_>, input: TransferInput) -> Result<TransferPayload> {
        let (outcome, answer) = submit(ctx, input.idempotency_key.clone(), parse::transfer(input)).await?;
        let transfer = match answer.movement_id.filter(|_| selects(ctx, "transfer")) {
            Some(id) => transfer_at(ctx, &id, outcome.log_position.map(|at| at.0)).await,
            None => Ok(None),
        };
        Ok(TransferPayload { outcome, transfer })
    }

    /// Up to 8,190 transfers in one request; each succeeds or fails on its own. With atomic all or none: every key's hash
    /// covers the whole set, a set that is partly a replay is IDEMPOTENCY_CONFLICT, and those that would have succeeded
    /// answer LINKED_FAILED, which is not remembered. UNAVAILABLE, OVERLOADED and FORBIDDEN among a transfer's errors are not
    /// refusals: its key settles what became of it.
    #[graphql(complexity = "child_complexity + inputs.len()")]
    async fn transfers(
        &self,
        ctx: &Context<'_>,
        inputs: Vec<TransferInput>,
        #[graphql(default = false)] atomic: bool,
    ) -> Result<Vec<TransferPayload>> {
        transfers(ctx, inputs, atomic).await
    }

    /// Sets money aside.
    async fn place_hold(&self, ctx: &Context<'_>, input: PlaceHoldInput) -> Result<HoldPayload> {
        hold_command(ctx, input.idempotency_key.clone(), parse::place_hold(input)).await
    }

    /// Pays out of a hold and ends it.
    async fn capture_hold(&self, ctx: &Context<'_>, input: CaptureHoldInput) -> Result<HoldPayload> {
        hold_command(ctx, input.idempotency_key.clone(), parse::capture_hold(input)).await
    }

    /// Ends a hold without paying.
    async fn release_hold(&self, ctx: &Context<'_>, input: ReleaseHoldInput) -> Result<HoldPayload> {
        hold_command(ctx, input.idempotency_key.clone(), parse::release_hold(input)).await
    }

    /// Stops an account's movements.
    async fn freeze_account(&self, ctx: &Context<'_>, input: AccountStatusInput) -> Result<AccountPayload> {
        account_command(ctx, input.idempotency_key.clone(), parse::freeze_account(input)).await
    }

    /// Allows them again.
    async fn unfreeze_account(&self, ctx: &Context<'_>, input: AccountStatusInput) -> Result<AccountPayload> {
        account_command(ctx, input.idempotency_key.clone(), parse::unfreeze_account(input)).await
    }

    /// Closes an account for good; it must be empty. A portfolio that it pays for trades no more; its assets can still be
    /// withdrawn.
    async fn close_account(&self, ctx: &Context<'_>, input: AccountStatusInput) -> Result<AccountPayload> {
        account_command(ctx, input.idempotency_key.clone(), parse::close_account(input)).await
    }

    /// Sets how far below zero an account may go.
    async fn set_overdraft_limit(&self, ctx: &Context<'_>, input: OverdraftInput) -> Result<AccountPayload> {
        account_command(ctx, input.idempotency_key.clone(), parse::set_overdraft_limit(input)).await
    }

    /// Not yet working. At most once for a transfer, deposit or withdrawal; nets to zero. force needs the role and a reason.
    async fn reverse(&self, input: ReverseInput) -> TransferPayload {
        let _ = input;
        Outcome::not_supported("a reversal").into()
    }

    /// Not yet working.
    async fn apply_for_credit(&self, input: CreditApplicationInput) -> LoanPayload {
        let _ = input;
        Outcome::not_supported("credit").into()
    }

    /// Not yet working.
    async fn decide_credit(&self, input: CreditDecisionInput) -> LoanPayload {
        let _ = input;
        Outcome::not_supported("credit").into()
    }

    /// Not yet working.
    async fn disburse_loan(&self, input: LoanInput) -> LoanPayload {
        let _ = input;
        Outcome::not_supported("credit").into()
    }

    /// Not yet working.
    async fn repay_loan(&self, input: LoanRepaymentInput) -> LoanPayload {
        let _ = input;
        Outcome::not_supported("credit").into()
    }

    /// Opens a portfolio; its id is in the answer.
    async fn open_portfolio(&self, ctx: &Context<'_>, input: OpenPortfolioInput) -> Result<PortfolioPayload> {
        portfolio_command(ctx, input.idempotency_key.clone(), parse::open_portfolio(input)).await
    }

    /// Assets other than cash come in here.
    async fn deposit_asset(&self, ctx: &Context<'_>, input: AssetInput) -> Result<PortfolioPayload> {
        portfolio_command(ctx, input.idempotency_key.clone(), parse::deposit_asset(input)).await
    }

    /// Assets other than cash go out here.
    async fn withdraw_asset(&self, ctx: &Context<'_>, input: AssetInput) -> Result<PortfolioPayload> {
        portfolio_command(ctx, input.idempotency_key.clone(), parse::withdraw_asset(input)).await
    }

    /// Limits what a portfolio may risk.
    async fn set_risk_limits(&self, ctx: &Context<'_>, input: RiskLimitsInput) -> Result<PortfolioPayload> {
        portfolio_command(ctx, input.idempotency_key.clone(), parse::set_risk_limits(input)).await
    }

    /// Places an order. One that the risk stages turn down is there, REJECTED, with the reason in errors.
    async fn place_order(&self, ctx: &Context<'_>, input: PlaceOrderInput) -> Result<OrderPayload> {
        order_command(ctx, input.idempotency_key.clone(), parse::place_order(input)).await
    }

    /// Takes an order back.
    async fn cancel_order(&self, ctx: &Context<'_>, input: CancelOrderInput) -> Result<OrderPayload> {
        order_command(ctx, input.idempotency_key.clone(), parse::cancel_order(input)).await
    }

    /// Not yet working. Less quantity keeps the place in the book; any other change loses it.
    async fn amend_order(&self, input: AmendOrderInput) -> OrderPayload {
        let _ = input;
        Outcome::not_supported("amending an order").into()
    }

    /// Not yet working. Two orders of which the first to trade cancels the other.
    async fn place_oco(&self, input: PlaceOcoInput) -> OcoPayload {
        let _ = input;
        Outcome::not_supported("one-cancels-the-other").into()
    }

    /// Not yet working. Kill switches.
    async fn pause_trading(&self, input: TradingSwitchInput) -> TradingSwitchPayload {
        trading_switch(input)
    }

    /// Not yet working. Kill switches.
    async fn resume_trading(&self, input: TradingSwitchInput) -> TradingSwitchPayload {
        trading_switch(input)
    }

    /// Opens a market.
    async fn register_market(&self, ctx: &Context<'_>, input: RegisterMarketInput) -> Result<MarketPayload> {
        market_command(ctx, input.idempotency_key.clone(), parse::register_market(input)).await
    }

    /// Stops a market.
    async fn halt_market(&self, ctx: &Context<'_>, input: MarketStatusInput) -> Result<MarketPayload> {
        market_command(ctx, input.idempotency_key.clone(), parse::halt_market(input)).await
    }

    /// Lets a market trade again.
    async fn resume_market(&self, ctx: &Context<'_>, input: MarketStatusInput) -> Result<MarketPayload> {
        market_command(ctx, input.idempotency_key.clone(), parse::resume_market(input)).await
    }
}

fn trading_switch(input: TradingSwitchInput) -> TradingSwitchPayload {
    let outcome = Outcome::not_supported("a kill switch");
    TradingSwitchPayload { outcome, scope: input.scope, id: input.id, paused: false }
}

type Parsed = std::result::Result<Command, Refusal>;

/// Sends a command to the bus. What was malformed is refused without it.
async fn submit(ctx: &Context<'_>, key: String, parsed: Parsed) -> Result<(Outcome, Answer)> {
    let request = match parse::idempotency_key(&key).and(parsed) {
        Ok(command) => request(ctx, key, command)?,
        Err(refusal) => return Ok((Outcome::refused(refusal), Answer::default())),
    };
    Ok(outcome(services(ctx)?.bus.execute(request).await?))
}

fn request(ctx: &Context<'_>, key: String, command: Command) -> Result<Request> {
    Ok(Request {
        principal: principal(ctx)?.clone(),
        idempotency_key: key,
        correlation_id: correlation_id(ctx),
        command,
    })
}

fn outcome(receipt: Receipt) -> (Outcome, Answer) {
    let (log_position, replayed) = (receipt.log_position.map(Into::into), receipt.replayed);
    match receipt.outcome {
        Decided::Accepted(mut answer) => {
            let errors =
                answer.rejection.take().map(|refusal| UserError::from(*refusal)).into_iter().collect();
            (Outcome { errors, log_position, replayed }, answer)
        }
        Decided::Refused(refusal) => {
            (Outcome { errors: vec![refusal.into()], log_position: None, replayed }, Answer::default())
        }
    }
}

/// Whether the request asks for the entity at all.
fn selects(ctx: &Context<'_>, field: &str) -> bool {
    ctx.look_ahead().field(field).exists()
}

async fn account_command(ctx: &Context<'_>, key: String, parsed: Parsed) -> Result<AccountPayload> {
    let (outcome, answer) = submit(ctx, key, parsed).await?;
    let account = match answer.account_id.filter(|_| selects(ctx, "account")) {
        Some(id) => account_at(ctx, &id, position(&outcome)).await,
        None => Ok(None),
    };
    Ok(AccountPayload { outcome, account })
}

async fn hold_command(ctx: &Context<'_>, key: String, parsed: Parsed) -> Result<HoldPayload> {
    let (outcome, answer) = submit(ctx, key, parsed).await?;
    let at = position(&outcome);
    let account_id = answer.hold_id.as_ref().map(HoldId::account);
    let account = match account_id.filter(|_| selects(ctx, "account")) {
        Some(id) => account_at(ctx, &id, at).await,
        None => Ok(None),
    };
    let hold = match answer.hold_id.filter(|_| selects(ctx, "hold")) {
        Some(id) => hold_at(ctx, &id, at).await,
        None => Ok(None),
    };
    Ok(HoldPayload { outcome, hold, account })
}

async fn portfolio_command(ctx: &Context<'_>, key: String, parsed: Parsed) -> Result<PortfolioPayload> {
    let (outcome, answer) = submit(ctx, key, parsed).await?;
    let portfolio = match answer.portfolio_id.filter(|_| selects(ctx, "portfolio")) {
        Some(id) => portfolio_at(ctx, &id, position(&outcome)).await,
        None => Ok(None),
    };
    Ok(PortfolioPayload { outcome, portfolio })
}

async fn order_command(ctx: &Context<'_>, key: String, parsed: Parsed) -> Result<OrderPayload> {
    let (outcome, answer) = submit(ctx, key, parsed).await?;
    let order = match answer.order_id.filter(|_| selects(ctx, "order")) {
        Some(id) => order_at(ctx, &id, position(&outcome)).await,
        None => Ok(None),
    };
    Ok(OrderPayload { outcome, order })
}

async fn market_command(ctx: &Context<'_>, key: String, parsed: Parsed) -> Result<MarketPayload> {
    let (outcome, answer) = submit(ctx, key, parsed).await?;
    let market = match answer.symbol.filter(|_| selects(ctx, "market")) {
        Some(symbol) => market_at(ctx, &symbol, position(&outcome)).await,
        None => Ok(None),
    };
    Ok(MarketPayload { outcome, market })
}

fn position(outcome: &Outcome) -> Option<LogPosition> {
    outcome.log_position.map(|position| position.0)
}

async fn account_at(ctx: &Context<'_>, id: &AccountId, at: Option<LogPosition>) -> Entity<Account> {
    Ok(Account::of(models(ctx, at)?.account(id).await?, at))
}

async fn hold_at(ctx: &Context<'_>, id: &HoldId, at: Option<LogPosition>) -> Entity<Hold> {
    let principal = principal(ctx)?;
    Ok(models(ctx, at)?.hold(id).await?.value.map(|row| Hold::new(row, principal)))
}

async fn transfer_at(ctx: &Context<'_>, id: &MovementId, at: Option<LogPosition>) -> Entity<Transfer> {
    let principal = principal(ctx)?;
    Ok(models(ctx, at)?.transfer(id).await?.value.map(|row| Transfer::new(row, principal)))
}

async fn portfolio_at(ctx: &Context<'_>, id: &PortfolioId, at: Option<LogPosition>) -> Entity<Portfolio> {
    Ok(Portfolio::of(models(ctx, at)?.portfolio(id).await?, at))
}

async fn order_at(ctx: &Context<'_>, id: &OrderId, at: Option<LogPosition>) -> Entity<Order> {
    Ok(Order::of(models(ctx, at)?.order(id).await?, at))
}

async fn market_at(ctx: &Context<'_>, symbol: &Symbol, at: Option<LogPosition>) -> Entity<Market> {
    Ok(Market::of(models(ctx, at)?.market(symbol).await?, at))
}

/// The `transfers` mutation: one pass of the bus and one read for all of them.
async fn transfers(
    ctx: &Context<'_>,
    inputs: Vec<TransferInput>,
    atomic: bool,
) -> Result<Vec<TransferPayload>> {
    if inputs.len() > MAX_TRANSFERS {
        return Err(too_complex(format!("one request may have at most {MAX_TRANSFERS} transfers")));
    }
    let mut results: Vec<Option<(Outcome, Answer)>> = vec![None; inputs.len()];
    let mut requests = Vec::with_capacity(inputs.len());
    let mut places = Vec::with_capacity(inputs.len());
    for (place, input) in inputs.into_iter().enumerate() {
        let key = input.idempotency_key.clone();
        match parse::idempotency_key(&key).and(parse::transfer(input)) {
            Ok(command) => {
                requests.push(request(ctx, key, command)?);
                places.push(place);
            }
            Err(refusal) => {
                results[place] = Some((Outcome::refused(within(refusal, place)), Answer::default()))
            }
        }
    }
    let is_whole = requests.len() == results.len();
    if atomic && !is_whole {
        let failed = || Refusal::new(Code::LinkedFailed, Code::LinkedFailed.meaning().trim());
        results.iter_mut().for_each(|result| {
            result.get_or_insert_with(|| (Outcome::refused(failed()), Answer::default()));
        });
    } else if !requests.is_empty() {
        let bus = &services(ctx)?.bus;
        let receipts =
            if atomic { bus.execute_linked(requests).await } else { bus.execute_all(requests).await };
        for (place, receipt) in places.into_iter().zip(receipts) {
            results[place] = Some(match receipt {
                Ok(mut receipt) => {
                    if let Decided::Refused(refusal) = receipt.outcome {
                        receipt.outcome = Decided::Refused(within(refusal, place));
                    }
                    outcome(receipt)
                }
                // One that failed must not hide what became of the others.
                Err(failure) => {
                    let error = ApiError::from(failure);
                    let refusal = Refusal::new(error.code(), error.message());
                    (Outcome::refused(refusal), Answer::default())
                }
            });
        }
    }
    let results: Vec<_> = results.into_iter().flatten().collect();
    with_entities(ctx, results).await
}

/// The refusal with the path of one of many inputs.
fn within(mut refusal: Refusal, place: usize) -> Refusal {
    if let Some(path) = &mut refusal.field {
        path.splice(..1, ["inputs".to_owned(), place.to_string()]);
    }
    refusal
}

async fn with_entities(ctx: &Context<'_>, results: Vec<(Outcome, Answer)>) -> Result<Vec<TransferPayload>> {
    let found = if selects(ctx, "transfer") {
        let last = results.iter().filter_map(|(outcome, _)| position(outcome)).max();
        let ids: Vec<_> = results.iter().filter_map(|(_, answer)| answer.movement_id.clone()).collect();
        let models = models(ctx, last)?;
        models.transfers_by_id(&ids).await.map(|answer| answer.value).map_err(ApiError::from)
    } else {
        Ok(Vec::new())
    };
    let principal = principal(ctx)?;
    let mut found = found.map(|rows| {
        rows.into_iter()
            .map(|row| (row.transfer_id.clone(), row))
            .collect::<std::collections::HashMap<_, _>>()
    });
    Ok(results
        .into_iter()
        .map(|(outcome, answer)| {
            let transfer = match (&mut found, answer.movement_id) {
                (Ok(rows), Some(id)) => Ok(rows.remove(&id).map(|row| Transfer::new(row, principal))),
                (Err(error), Some(_)) => Err(error.clone()),
                (_, None) => Ok(None),
            };
            TransferPayload { outcome, transfer }
        })
        .collect())
}
