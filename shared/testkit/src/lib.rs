//! The simulated cloud, and fakes with state and rules: they store what they are given and enforce
//! the same conditions as the real queues, bucket and credential store. They have no expectations;
//! tests check the resulting state.
//!
//! There is no second, hand-written table: [`SimulatedTables`] connects the real repositories to the
//! simulated `DynamoDB` in process. [`SimulatedQueues`] does the same for what the fake queue does not
//! model, such as dead-letter queues, and [`SimulatedSecrets`] for the real credential store.
//!
//! Every port of a fake and every request to the table goes through its [`Faults`], so that a test
//! can make any call fail, before or after it takes effect, or make all calls fail from then on.

mod bucket;
mod clock;
pub mod cloud;
mod credentials;
mod faults;
mod queue;
mod rng;
pub mod sample;
mod secrets;
mod sqs;
mod table;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use bucket::FakeBucket;
pub use clock::FakeClock;
pub use credentials::FakeCredentials;
pub use faults::{Faults, Side};
pub use queue::{FakeQueue, Received};
pub use rng::SeededRng;
pub use secrets::SimulatedSecrets;
pub use sqs::SimulatedQueues;
pub use table::SimulatedTables;

/// Locks the mutex, even if a thread of another test panicked while it held the lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
