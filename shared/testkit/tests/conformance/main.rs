//! One suite, held against the model of the cloud and, with the feature `emulator`, against
//! the local cloud: what the simulated cloud does is what the emulator does.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by it"
)]

mod dynamo;
#[cfg(feature = "emulator")]
mod emulator;
mod endpoint;
mod s3;
mod secrets;
mod sqs;
