//! Fakes with state and rules: they keep what they are given and obey the same conditions as
//! the real table, queues, bucket and vault. None of them expects anything; tests look at
//! what is there in the end.
//!
//! Every port of a fake goes through its [`Faults`], so that a test can make any one call
//! fail, before or after it took effect, or break everything off from there on.

mod bucket;
mod clock;
pub mod cloud;
mod dice;
mod faults;
mod queue;
pub mod sample;
mod store;
mod vault;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use bucket::MemoryBucket;
pub use clock::TestClock;
pub use dice::SeededDice;
pub use faults::{Faults, Side};
pub use queue::{MemoryQueue, Received};
pub use store::{MemoryStore, Notice, NoticeState};
pub use vault::MemoryVault;

/// Locks, whatever another test's thread did.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
