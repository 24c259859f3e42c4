//! End-to-end tests of the deployed functions through the hub's HTTP API. Each guarantee has a test
//! that tries to break it.
//!
//! Environment variables name the hub; `cargo xtask test` starts one and sets them. Each test has
//! its own tenant and accounts, so all tests run in parallel.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed test panics"
)]

mod abrupt_end;
mod api;
mod automation;
mod canary;
mod cloud;
mod edge;
mod failover;
mod fixtures;
mod flood;
mod hub;
mod inbound;
mod jobs;
mod outbound;
mod permissions;
mod platform;
mod receipts;
mod telegram;
mod tenant_isolation;
mod traces;
mod webhooks;
