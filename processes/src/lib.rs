//! What acts by itself: feeds, the paper venue, timers.

pub mod feed;
pub mod observed_book;
pub mod paper_venue;
pub mod tick_archive;
pub mod windows;
