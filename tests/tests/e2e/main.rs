//! The whole hub, through its front door, on the real functions: each promise has a test that
//! tries to break it.
//!
//! The environment names the hub; `cargo xtask test` starts one and sets it. Each test has its
//! own tenant and its own accounts at the providers, so all run side by side.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by it"
)]

mod abrupt_end;
mod api;
mod automation;
mod carriers;
mod cast;
mod cloud;
mod edge;
mod hub;
mod inbound;
mod jobs;
mod outbound;
mod platform;
mod receipts;
mod telegram;
mod walls;
mod webhooks;
