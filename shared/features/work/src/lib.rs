//! Jobs that the tenants' own workers pull, and the messages that the tenants' programs ingest.

pub mod api;
pub mod ending;
pub mod handlers;
pub mod model;
pub mod ports;
pub mod repository;
pub mod waiting;

pub use repository::Repository;
