//! Tenants, API keys, integrations and their credentials.

pub mod api;
pub mod authorizer;
pub mod circuit;
mod key_cache;
pub mod key_use;
pub mod model;
pub mod operator_credentials;
pub mod ports;
pub mod rate_limit;
pub mod recent_automations;
pub mod repository;
pub mod webhook;

pub use repository::Repository;
