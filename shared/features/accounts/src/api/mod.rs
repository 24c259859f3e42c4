//! HTTP resources of the feature.

pub mod audit;
pub mod integrations;
mod limits;
pub mod tenants;
mod whatsapp_schema;
mod whatsapp_settings;
