//! The HTTP side as callers meet it: a real router on a free port, over a real log.

mod bodies;
mod bounds;
mod health;
mod pages;
mod rules;
mod server;
mod socket;
mod socket_limits;
