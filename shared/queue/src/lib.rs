//! SQS queues, and the S3 bucket for bodies that are too large for them (claim check).

mod bucket;
mod sqs;

pub use bucket::Bucket;
pub use sqs::{Queues, SqsQueue};
