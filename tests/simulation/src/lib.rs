//! The engine of a deterministic simulation of the whole hub.
//!
//! The handlers are the ones that are deployed, made from the same parts, down to the requests
//! that their AWS clients write. Everything outside is simulated: time, chance, the cloud
//! ([`testkit::cloud`]), the providers (the crate `simulator`), and a Lambda service that kills,
//! freezes and repeats ([`machine`]). One thread, one seed, one history: the same seed gives the
//! same history to the byte. The engine knows no feature: whoever owns one registers its
//! functions, fixtures, scenarios and invariants ([`feature`]). `tests/README.md` has the method
//! and what it cannot see.

pub mod chance;
pub mod cli;
pub mod deployment;
pub mod feature;
pub mod functions;
pub mod history;
pub mod machine;
pub mod net;
pub mod run;
pub mod scenario;
pub mod shrink;
pub mod stage;
pub mod time;
pub mod trouble;
pub mod watch;
