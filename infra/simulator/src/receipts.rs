//! The status webhooks that follow a message, and their delays.

use serde::{Deserialize, Serialize};

/// Delays after acceptance in milliseconds; `None` means never.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Receipts {
    /// Delay of the `sent` status.
    pub sent: Option<u64>,
    /// Delay of the `delivered` status.
    pub delivered: Option<u64>,
    /// Delay of the `read` status.
    pub read: Option<u64>,
    /// Extra copies of each webhook.
    pub duplicates: u32,
    /// The webhooks arrive in another order; their timestamps stay true.
    pub shuffle: bool,
    /// One webhook reports all statuses.
    pub together: bool,
}

impl Default for Receipts {
    fn default() -> Self {
        Self {
            sent: Some(20),
            delivered: Some(60),
            read: Some(200),
            duplicates: 0,
            shuffle: false,
            together: false,
        }
    }
}

/// A planned webhook.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Delay after acceptance.
    pub after_ms: u64,
    /// Its statuses, each with its time after acceptance.
    pub statuses: Vec<(&'static str, u64)>,
}

impl Receipts {
    /// The webhooks for one message. `random` selects the order if the receipts are shuffled.
    #[must_use]
    pub fn plan(&self, failed: bool, random: u64) -> Vec<Planned> {
        let mut plan: Vec<Planned> = if failed {
            vec![Planned {
                after_ms: self.sent.unwrap_or(20),
                statuses: vec![("failed", self.sent.unwrap_or(20))],
            }]
        } else {
            [("sent", self.sent), ("delivered", self.delivered), ("read", self.read)]
                .into_iter()
                .filter_map(|(status, after)| after.map(|after| (status, after)))
                .map(|(status, after_ms)| Planned { after_ms, statuses: vec![(status, after_ms)] })
                .collect()
        };
        if self.together && plan.len() > 1 {
            let after_ms = plan.iter().map(|webhook| webhook.after_ms).max().unwrap_or(0);
            let statuses = plan.into_iter().flat_map(|webhook| webhook.statuses).collect();
            plan = vec![Planned { after_ms, statuses }];
        } else if self.shuffle && plan.len() > 1 {
            let delays: Vec<u64> = plan.iter().map(|webhook| webhook.after_ms).collect();
            // A rotation by at least one: never the true order.
            let shift = 1 + usize::try_from(random % (delays.len() as u64 - 1)).unwrap_or(0);
            for (webhook, delay) in plan.iter_mut().zip(delays.iter().cycle().skip(shift)) {
                webhook.after_ms = *delay;
            }
        }
        let copies = 1 + self.duplicates as usize;
        plan.into_iter().flat_map(|webhook| std::iter::repeat_n(webhook, copies)).collect()
    }
}

/// Returns the next number of a `SplitMix64` generator: the same seed gives the same sequence.
#[must_use]
pub fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(plan: &[Planned]) -> Vec<&'static str> {
        let mut plan: Vec<_> = plan.iter().collect();
        plan.sort_by_key(|webhook| webhook.after_ms);
        plan.iter().flat_map(|webhook| webhook.statuses.iter().map(|status| status.0)).collect()
    }

    #[test]
    fn statuses_arrive_in_order() {
        let plan = Receipts::default().plan(false, 1);
        assert_eq!(order(&plan), ["sent", "delivered", "read"]);
    }

    #[test]
    fn a_receipt_can_be_left_out() {
        let receipts = Receipts { delivered: None, ..Receipts::default() };
        assert_eq!(order(&receipts.plan(false, 1)), ["sent", "read"]);
    }

    #[test]
    fn shuffled_statuses_arrive_out_of_order_and_keep_their_times() {
        let receipts = Receipts { shuffle: true, ..Receipts::default() };
        for random in 0..10 {
            let plan = receipts.plan(false, random);
            assert_ne!(order(&plan), ["sent", "delivered", "read"]);
            let times: Vec<u64> = plan.iter().map(|webhook| webhook.statuses[0].1).collect();
            assert_eq!(times, [20, 60, 200]);
        }
    }

    #[test]
    fn duplicates_are_copies() {
        let receipts = Receipts { duplicates: 2, read: None, ..Receipts::default() };
        assert_eq!(receipts.plan(false, 1).len(), 6);
    }

    #[test]
    fn together_sends_one_webhook_and_a_failure_sends_one_status() {
        let receipts = Receipts { together: true, ..Receipts::default() };
        let plan = receipts.plan(false, 1);
        assert_eq!((plan.len(), plan[0].statuses.len()), (1, 3));
        assert_eq!(order(&Receipts::default().plan(true, 1)), ["failed"]);
    }
}
