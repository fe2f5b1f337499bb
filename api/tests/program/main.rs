//! The program `daybook` itself, as an operator starts, stops and kills it.

#![allow(missing_docs)]

mod crashes;
mod databases;
mod daybook;
mod keys;
mod starts;
