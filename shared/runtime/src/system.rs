//! The real clock and the real dice.

use domain::ports::{Clock, Dice};
use jiff::Timestamp;

/// The machine's clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the one clock")]
        Timestamp::now()
    }
}

/// The crypto library's random source.
#[derive(Clone, Copy, Debug)]
pub struct SystemDice;

impl Dice for SystemDice {
    fn bits(&self) -> u128 {
        let mut bytes = [0; 16];
        // It fails only if the kernel has no randomness to give; then nothing here may go on.
        #[expect(clippy::expect_used, reason = "without randomness no key may be made")]
        aws_lc_rs::rand::fill(&mut bytes).expect("the system's random source");
        u128::from_be_bytes(bytes)
    }
}
