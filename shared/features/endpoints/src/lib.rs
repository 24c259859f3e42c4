//! Outgoing webhooks: notifications to the tenants' endpoints, and their retries.

pub mod handlers;
pub mod model;
pub mod ports;
pub mod repository;

pub use repository::Repository;
