//! Rate limits and service windows, without I/O.

use std::collections::{BTreeMap, VecDeque};

/// A sliding window limit.
#[derive(Clone, Debug, Default)]
pub struct Window {
    taken: VecDeque<i64>,
}

impl Window {
    /// Milliseconds until the limit allows one more; 0 if it does now. A `limit` of 0 means no
    /// limit.
    pub fn wait_ms(&mut self, now_ms: i64, limit: usize, window_ms: i64) -> i64 {
        while self.taken.front().is_some_and(|at| at + window_ms <= now_ms) {
            self.taken.pop_front();
        }
        if limit == 0 || self.taken.len() < limit {
            return 0;
        }
        let oldest_that_must_go = self.taken.len() - limit;
        self.taken.get(oldest_that_must_go).map_or(0, |at| at + window_ms - now_ms)
    }

    /// Records one use.
    pub fn take(&mut self, now_ms: i64) {
        self.taken.push_back(now_ms);
    }
}

/// A token bucket that gains one token every interval.
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    /// When the bucket will be full again.
    full_at_ms: i64,
}

impl Bucket {
    /// Milliseconds until a token is available; 0 if one is now. An interval of 0 means no limit.
    #[must_use]
    pub fn wait_ms(&self, now_ms: i64, burst: u32, interval_ms: i64) -> i64 {
        if interval_ms == 0 {
            return 0;
        }
        let debt_allowed = i64::from(burst.max(1) - 1) * interval_ms;
        (self.full_at_ms - now_ms - debt_allowed).max(0)
    }

    /// Takes one token.
    pub fn take(&mut self, now_ms: i64, interval_ms: i64) {
        self.full_at_ms = self.full_at_ms.max(now_ms) + interval_ms;
    }
}

/// When each customer last wrote. That opens a window in which the business may write freely.
#[derive(Clone, Debug, Default)]
pub struct ServiceWindows(BTreeMap<String, i64>);

impl ServiceWindows {
    /// Whether the window of `length_ms` of `person` is open.
    #[must_use]
    pub fn is_open(&self, now_ms: i64, person: &str, length_ms: i64) -> bool {
        self.0.get(person).is_some_and(|at| now_ms - at < length_ms)
    }

    /// Sets when `person` last wrote; `None` means never.
    pub fn set(&mut self, person: &str, last_wrote_ms: Option<i64>) {
        match last_wrote_ms {
            Some(at) => self.0.insert(person.to_owned(), at),
            None => self.0.remove(person),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_slides() {
        let mut window = Window::default();
        for at in [0, 100, 200] {
            assert_eq!(window.wait_ms(at, 3, 1000), 0);
            window.take(at);
        }
        assert_eq!(window.wait_ms(300, 3, 1000), 700);
        assert_eq!(window.wait_ms(1000, 3, 1000), 0);
        assert_eq!(window.wait_ms(300, 0, 1000), 0);
    }

    #[test]
    fn a_bucket_allows_its_burst_and_then_one_per_interval() {
        let mut bucket = Bucket::default();
        for _ in 0..3 {
            assert_eq!(bucket.wait_ms(1000, 3, 100), 0);
            bucket.take(1000, 100);
        }
        assert_eq!(bucket.wait_ms(1000, 3, 100), 100);
        assert_eq!(bucket.wait_ms(1100, 3, 100), 0);
        bucket.take(1100, 100);
        assert_eq!(bucket.wait_ms(1100, 3, 100), 100);
        assert_eq!(bucket.wait_ms(9000, 3, 100), 0);
        assert_eq!(bucket.wait_ms(1100, 3, 0), 0);
    }
}
