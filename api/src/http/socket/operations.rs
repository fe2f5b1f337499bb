//! The operations that run on one connection.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_graphql::parser::types::OperationType;
use async_graphql::{Request, Response};
use commands::Principal;
use domain::Code;
use futures::stream::{self, AbortHandle, BoxStream, SelectAll};
use futures::{FutureExt as _, StreamExt as _};
use uuid::Uuid;

use super::close::Close;
use crate::errors::ApiError;
use crate::graphql::gate::AnswersAtOnce;
use crate::http::{AppState, layers, operation};

/// What an operation does.
pub enum Step {
    /// It has a result. The flag says whether it is one of a subscription.
    Result(Box<Response>, bool),
    /// It has failed as a whole and is over.
    Failed(ApiError),
    /// It is over.
    Completed,
}

/// The operations that run on one connection. Dropping it ends them.
pub struct Operations {
    running: SelectAll<BoxStream<'static, (Arc<str>, Step)>>,
    handles: HashMap<Arc<str>, AbortHandle>,
    answers: AnswersAtOnce,
}

impl Operations {
    /// None yet. At most so many of their answers are put together at the same time.
    pub fn new(answers_at_once: usize) -> Self {
        let answers = AnswersAtOnce::new(answers_at_once);
        Self { running: SelectAll::default(), handles: HashMap::default(), answers }
    }

    /// Starts an operation under an id. Gives back why it does not, if there are too many.
    ///
    /// # Errors
    /// 4409 if the id is in use.
    pub fn start(
        &mut self,
        state: &AppState,
        principal: Principal,
        id: &str,
        request: Request,
    ) -> Result<Option<ApiError>, Close> {
        if self.handles.contains_key(id) {
            return Err(Close::duplicate(id));
        }
        let count = self.handles.len();
        if count >= state.limits.subscriptions_per_socket {
            layers::count_overload("socket_operations");
            let message = format!(
                "{count} operations run on this connection already: complete some or open another connection"
            );
            return Ok(Some(ApiError::new(Code::Overloaded, message)));
        }
        let id: Arc<str> = id.into();
        let (steps, handle) = stream::abortable(steps(state, principal, request.data(self.answers.clone())));
        self.handles.insert(Arc::clone(&id), handle);
        self.running.push(steps.map(move |step| (Arc::clone(&id), step)).boxed());
        Ok(None)
    }

    /// Ends an operation; nothing more comes of it. One that is not there may just have ended by itself.
    pub fn end(&mut self, id: &str) {
        if let Some(handle) = self.handles.remove(id) {
            handle.abort();
        }
    }

    /// What the next of them does; `None` if none runs.
    pub async fn next(&mut self) -> Option<(Arc<str>, Step)> {
        self.running.next().await
    }
}

/// What an operation does, one after the other; the last is that it has failed or completed.
fn steps(state: &AppState, principal: Principal, request: Request) -> BoxStream<'static, Step> {
    let correlation_id = Uuid::now_v7();
    let span = tracing::info_span!("operation", %correlation_id);
    let mut steps = steps_of(state, principal, request, correlation_id);
    // Entered for as long as it works, so that every line of the log says whose it is.
    stream::poll_fn(move |context| span.in_scope(|| steps.poll_next_unpin(context))).boxed()
}

fn steps_of(
    state: &AppState,
    principal: Principal,
    request: Request,
    correlation_id: Uuid,
) -> BoxStream<'static, Step> {
    match operation::prepare(&state.documents, request, principal, correlation_id) {
        Err(error) => failed(error),
        Ok((request, Some(OperationType::Subscription))) => {
            let results = state.schema.execute_stream(request);
            let results = AssertUnwindSafe(results).catch_unwind().map(|result| match result {
                Ok(response) => Step::Result(Box::new(response), true),
                Err(panic) => Step::Failed(operation::panicked(panic.as_ref())),
            });
            results.chain(stream::iter([Step::Completed])).boxed()
        }
        Ok((request, _)) => {
            let state = state.clone();
            let answer = async move {
                let Ok(_permit) = state.requests.try_acquire() else {
                    layers::count_overload("requests");
                    return Step::Failed(ApiError::of(Code::Overloaded));
                };
                let limit = state.limits.request_timeout;
                match tokio::time::timeout(limit, operation::execute(&state.schema, request)).await {
                    Ok(response) => Step::Result(Box::new(response), false),
                    Err(_) => Step::Failed(layers::too_slow(limit)),
                }
            };
            answer.into_stream().chain(stream::iter([Step::Completed])).boxed()
        }
    }
}

fn failed(error: ApiError) -> BoxStream<'static, Step> {
    stream::iter([Step::Failed(error)]).boxed()
}
