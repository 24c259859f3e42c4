//! Queue consumers and senders.

pub mod inbound;
pub mod media;
pub mod receipts;
pub mod sender;
