//! Tenants, API keys, integrations and their credentials.

pub mod api;
pub mod authorizer;
pub mod circuit;
pub mod operator_credentials;
pub mod ports;
pub mod repository;
pub mod webhook;

pub use repository::Repository;
