//! HTTP resources of the feature.

pub mod inbound;
pub mod queue;
pub mod status;
