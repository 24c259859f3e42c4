//! Jobs that the tenants' own workers pull, and the messages that the tenants' programs ingest.

pub mod api;
pub mod handlers;
pub mod ports;
pub mod repository;

pub use repository::Repository;
