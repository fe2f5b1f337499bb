//! What every request passes before anything of it runs, over HTTP and WebSocket alike: limits, rights, variables.

use std::any::TypeId;
use std::sync::Arc;

use async_graphql::extensions::{
    Extension, ExtensionContext, ExtensionFactory, NextExecute, NextPrepareRequest, NextValidation,
};
use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, OperationDefinition, OperationType, Selection, SelectionSet,
};
use async_graphql::registry::Registry;
use async_graphql::{Request, Response, ServerError, ServerResult, ValidationResult};
use commands::Principal;
use domain::Code;
use tokio::sync::Semaphore;

use super::{limits, variables};
use crate::auth::rights::{self, Operation};
use crate::errors::ApiError;

/// The gate, as an extension of the schema.
pub struct Gate;

impl ExtensionFactory for Gate {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Gate)
    }
}

/// How many answers are put together at the same time for one connection: a hundred subscriptions to the same change would
/// else take every connection to the database at once. As data of a request.
#[derive(Clone)]
pub struct AnswersAtOnce(Arc<Semaphore>);

impl AnswersAtOnce {
    /// At most so many.
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count)))
    }
}

#[async_trait::async_trait]
impl Extension for Gate {
    async fn prepare_request(
        &self,
        ctx: &ExtensionContext<'_>,
        mut request: Request,
        next: NextPrepareRequest<'_>,
    ) -> ServerResult<Request> {
        limits::check_text(&request.query)?;
        let name = request.operation_name.clone();
        // The library makes the request's data part of the context only after this.
        let principal = request
            .data
            .get(&TypeId::of::<Principal>())
            .and_then(|data| data.downcast_ref::<Principal>())
            .or_else(|| ctx.data_opt::<Principal>())
            .cloned();
        let values = std::mem::take(&mut request.variables);
        let document = request.parsed_query()?;
        // Which of several operations is meant is the library's to complain about.
        if let Some(operation) = selected(document, name.as_deref()) {
            limits::check_document(document, operation, &values)?;
            authorise(&ctx.schema_env.registry, principal.as_ref(), document, operation)?;
            variables::check(&ctx.schema_env.registry, operation, &values)?;
        }
        request.variables = values;
        next.run(ctx, request).await
    }

    async fn validation(
        &self,
        ctx: &ExtensionContext<'_>,
        next: NextValidation<'_>,
    ) -> Result<ValidationResult, Vec<ServerError>> {
        let result = next.run(ctx).await.map_err(first_of)?;
        if result.complexity > limits::MAX_COMPLEXITY {
            let message = format!(
                "the query can answer with {} fields, {} are allowed; ask for fewer or for smaller pages",
                result.complexity,
                limits::MAX_COMPLEXITY
            );
            return Err(vec![limits::too_complex(message).into()]);
        }
        Ok(result)
    }

    /// A query, a mutation, or one message of a subscription.
    async fn execute(
        &self,
        ctx: &ExtensionContext<'_>,
        operation_name: Option<&str>,
        next: NextExecute<'_>,
    ) -> Response {
        // Nobody closes the semaphore.
        let _turn = match ctx.data_opt::<AnswersAtOnce>() {
            Some(answers) => answers.0.acquire().await.ok(),
            None => None,
        };
        next.run(ctx, operation_name).await
    }
}

/// The first errors of a document's validation; one that has thousands is not worth an answer of megabytes.
fn first_of(mut errors: Vec<ServerError>) -> Vec<ServerError> {
    let more = errors.len().saturating_sub(limits::MAX_VALIDATION_ERRORS);
    if more > 0 {
        errors.truncate(limits::MAX_VALIDATION_ERRORS);
        errors.push(ApiError::new(Code::BadRequest, format!("and {more} more errors")).into());
    }
    errors
}

/// The operation of the document that is to be carried out, if it is clear which.
pub(crate) fn selected<'a>(
    document: &'a ExecutableDocument,
    name: Option<&str>,
) -> Option<&'a OperationDefinition> {
    match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => Some(&operation.node),
        (DocumentOperations::Single(_), Some(_)) => None,
        (DocumentOperations::Multiple(operations), Some(name)) => operations.get(name).map(|op| &op.node),
        (DocumentOperations::Multiple(operations), None) if operations.len() == 1 => {
            operations.values().next().map(|operation| &operation.node)
        }
        (DocumentOperations::Multiple(_), None) => None,
    }
}

fn authorise(
    registry: &Registry,
    principal: Option<&Principal>,
    document: &ExecutableDocument,
    operation: &OperationDefinition,
) -> Result<(), ApiError> {
    let Some(principal) = principal else {
        return Err(ApiError::of(Code::Unauthenticated));
    };
    let (kind, root) = match operation.ty {
        OperationType::Query => (Operation::Query, Some(&registry.query_type)),
        OperationType::Mutation => (Operation::Mutation, registry.mutation_type.as_ref()),
        OperationType::Subscription => (Operation::Subscription, registry.subscription_type.as_ref()),
    };
    let root = root.and_then(|root| registry.types.get(root));
    let mut roots = Vec::new();
    root_fields(document, &operation.selection_set.node, &mut roots);
    for field in &roots {
        // A field that does not exist is the validation's to report.
        if root.is_some_and(|root| root.field_by_name(field).is_some()) && !field.starts_with("__") {
            rights::authorise(principal, kind, field)?;
        }
    }
    if kind == Operation::Mutation && roots.len() > limits::MAX_MUTATIONS {
        return Err(limits::too_complex(format!(
            "the request has {} mutations, {} are allowed; send more requests, or use transfers",
            roots.len(),
            limits::MAX_MUTATIONS
        )));
    }
    if kind == Operation::Subscription && roots.len() != 1 {
        return Err(ApiError::new(Code::BadRequest, "a subscription selects exactly one field"));
    }
    Ok(())
}

/// The names of the fields at the top, through fragments. Circles were refused before, and what it comes to is limited.
fn root_fields<'a>(document: &'a ExecutableDocument, set: &'a SelectionSet, found: &mut Vec<&'a str>) {
    for selection in &set.items {
        match &selection.node {
            Selection::Field(field) => found.push(field.node.name.node.as_str()),
            Selection::InlineFragment(fragment) => {
                root_fields(document, &fragment.node.selection_set.node, found);
            }
            Selection::FragmentSpread(spread) => {
                if let Some(fragment) = document.fragments.get(&spread.node.fragment_name.node) {
                    root_fields(document, &fragment.node.selection_set.node, found);
                }
            }
        }
    }
}
