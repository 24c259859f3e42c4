//! System clock and system random number generator.

use domain::ports::{Clock, Rng};
use jiff::Timestamp;

/// System clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "only this type reads the system clock")]
        Timestamp::now()
    }
}

/// Random number generator of the crypto library.
#[derive(Clone, Copy, Debug)]
pub struct SystemRng;

impl Rng for SystemRng {
    fn bits(&self) -> u128 {
        let mut bytes = [0; 16];
        // It fails only if the kernel has no entropy; then the process must not continue.
        #[expect(clippy::expect_used, reason = "no key may be created without randomness")]
        aws_lc_rs::rand::fill(&mut bytes).expect("the system's random source");
        u128::from_be_bytes(bytes)
    }
}
