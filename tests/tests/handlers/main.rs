//! Handler tests: every handler runs on the real repository over the simulated table, and on
//! stateful fakes that follow the rules of the real services.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic fails the test"
)]
#![expect(
    clippy::large_futures,
    reason = "requests of the AWS SDK are large, and a test awaits one at a time"
)]

mod addresses;
mod after_acceptance;
mod api;
mod audit;
mod automation;
mod batch;
mod common;
mod credentials;
mod dead_letters;
mod env;
mod events;
mod failover;
mod generated;
mod inbound;
mod ingest;
mod isolation;
mod jobs;
mod keys;
mod limits;
mod media;
mod messages;
mod outage;
mod receipts;
mod retention;
mod sender;
mod settings;
mod traces;
mod webhook;
