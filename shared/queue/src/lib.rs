//! SQS queues, and the S3 bucket for bodies that are too large for them (claim check).

mod bucket;
mod dead_letters;
mod sqs;

pub use bucket::Bucket;
pub use sqs::{Queues, SqsQueue};
