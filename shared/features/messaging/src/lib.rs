//! Messages: inbound, outbound, their conversations, receipts and media.

pub mod api;
pub mod handlers;
pub mod model;
pub mod notify;
pub mod outbound;
pub mod ports;
pub mod repository;
mod routing;

pub use repository::Repository;
