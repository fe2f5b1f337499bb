//! leading
