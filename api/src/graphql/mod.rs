//! The GraphQL schema: types over read models, mutations over the bus, subscriptions over the log.
//!
//! - [`query`], [`mutation`], [`subscription`]: the operations. [`types`], [`payloads`], [`inputs`], [`enums`], [`scalars`]: what
//!   they speak in. [`commands`]: from an input to a command.
//! - [`gate`]: what every request passes before anything of it runs: [`limits`], rights, [`variables`].
//! - [`context`]: who asks, and the services. [`live`]: one reader of the log for all subscriptions.

pub mod commands;
pub mod context;
pub mod enums;
pub mod error_code;
pub mod gate;
pub mod inputs;
pub mod limits;
pub mod live;
pub mod mutation;
pub mod payloads;
pub mod query;
pub mod scalars;
pub mod subscription;
pub mod types;
pub mod variables;

use async_graphql::SchemaBuilder;

use context::Services;
use gate::Gate;
use mutation::Mutation;
use query::Query;
use subscription::Subscription;

/// The schema.
pub type Schema = async_graphql::Schema<Query, Mutation, Subscription>;

fn builder() -> SchemaBuilder<Query, Mutation, Subscription> {
    async_graphql::Schema::build(Query, Mutation, Subscription)
        .register_output_type::<payloads::Receipt>()
        .limit_recursive_depth(limits::MAX_NESTING)
        .disable_suggestions()
        .extension(Gate)
}

/// The schema over these services.
pub fn schema(services: Services) -> Schema {
    builder().data(services).finish()
}

/// The schema as text, as it is in `schemas/schema.graphql`.
pub fn sdl() -> String {
    builder().finish().sdl()
}
