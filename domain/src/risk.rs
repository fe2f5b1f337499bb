//! The two ordered stages an order passes before it reaches a venue.
