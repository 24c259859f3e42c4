//! Queue consumers.

pub mod parked;
pub mod record;
pub mod replay;
