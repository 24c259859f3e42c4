//! Queues, and the bucket for what is too large for them.

mod bucket;
mod sqs;

pub use bucket::Bucket;
pub use sqs::{Queues, SqsQueue};
