//! Nouns and pure rules: audit records, automations, circuit breakers, keys and routes.

pub mod audit;
pub mod automation;
pub mod circuit;
pub mod key;
pub mod limits;
pub mod route;
