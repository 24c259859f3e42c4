//! Event record: events that are neither messages nor receipts, parked webhooks, and replays.

pub mod api;
pub mod handlers;
pub mod model;
pub mod ports;
pub mod repository;

pub use repository::Repository;
