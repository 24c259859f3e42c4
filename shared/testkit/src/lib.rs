//! The simulated cloud, and fakes with state and rules: they keep what they are given and obey the
//! same conditions as the real queues, bucket and vault. None of them expects anything; tests look
//! at what is there in the end.
//!
//! There is no second, hand-written store: [`SimulatedTable`] leads the real repository to the
//! simulated `DynamoDB` in process.
//!
//! Every port of a fake and every request to the table goes through its [`Faults`], so that a test
//! can make any one call fail, before or after it took effect, or break everything off from there
//! on.

mod bucket;
mod clock;
pub mod cloud;
mod credentials;
mod faults;
mod queue;
mod rng;
pub mod sample;
mod table;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use bucket::FakeBucket;
pub use clock::FakeClock;
pub use credentials::FakeCredentials;
pub use faults::{Faults, Side};
pub use queue::{FakeQueue, Received};
pub use rng::SeededRng;
pub use table::SimulatedTable;

/// Locks, whatever another test's thread did.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
