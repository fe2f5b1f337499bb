//! The whole server in one process, over real HTTP and WebSockets on a real database.

mod schema;
