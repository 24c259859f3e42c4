//! Every handler, on the real repository over the simulated table, and on fakes that keep state
//! and obey the rules of the real thing.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by it"
)]
#![expect(
    clippy::large_futures,
    reason = "requests of the AWS SDK are large, and a test has one of them at a time"
)]

mod addresses;
mod api;
mod automation;
mod batch;
mod common;
mod events;
mod failover;
mod generated;
mod inbound;
mod ingest;
mod isolation;
mod jobs;
mod media;
mod messages;
mod outage;
mod receipts;
mod sender;
mod settings;
mod webhook;
