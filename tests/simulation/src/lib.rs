//! Engine of a deterministic simulation of the hub.
//!
//! The handlers are the deployed ones, built from the same parts, down to the requests of their AWS
//! clients. Everything else is simulated: time, randomness, the cloud ([`testkit::cloud`]), the
//! providers (crate `simulator`), and a Lambda service that kills, freezes and repeats invocations
//! ([`machine`]). A run has one thread, one seed and one history: the same seed gives the same
//! history to the byte. The engine knows no feature: each feature registers its functions,
//! fixtures, scenarios and invariants ([`feature`]). `tests/README.md` describes the method and its
//! limits.

pub mod cli;
pub mod deployment;
pub mod faults;
pub mod feature;
pub mod functions;
pub mod history;
pub mod initial_state;
pub mod lineage;
pub mod machine;
pub mod monitor;
pub mod net;
pub mod random;
pub mod run;
pub mod scenario;
pub mod shrink;
pub mod time;
