//! HTTP resources of the feature.

mod body;
pub mod compat;
pub mod conversations;
pub mod messages;
