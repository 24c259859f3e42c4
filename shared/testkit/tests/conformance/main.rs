//! One suite of tests that runs against the model of AWS and, with the feature `emulator`, against
//! the local cloud, to show that both behave the same.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic fails the test"
)]

mod dynamo;
#[cfg(feature = "emulator")]
mod emulator;
mod endpoint;
mod kms;
mod s3;
mod secrets;
mod sqs;
