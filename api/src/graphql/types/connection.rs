//! Relay connections over pages of the read models.

use async_graphql::OutputType;
use async_graphql::connection::{
    Connection as Relay, DefaultConnectionName, DefaultEdgeName, DisableNodesField, Edge, EmptyFields,
};
use projections::read::Page;

/// A Relay connection with opaque keyset cursors.
pub type Connection<T> =
    Relay<String, T, EmptyFields, EmptyFields, DefaultConnectionName, DefaultEdgeName, DisableNodesField>;

/// The page as a connection; `has_previous` says whether it began after a cursor.
pub fn connection<R, T: OutputType>(
    page: Page<R>,
    has_previous: bool,
    mut node: impl FnMut(R) -> T,
) -> Connection<T> {
    let mut connection = Connection::new(has_previous, page.has_next);
    connection.edges =
        page.edges.into_iter().map(|edge| Edge::new(edge.cursor.to_string(), node(edge.node))).collect();
    connection
}
