//! HTTP resources of the feature.

pub mod integrations;
pub mod tenants;
mod whatsapp_schema;
mod whatsapp_settings;
