//! Which status webhooks follow a message, and when.

use serde::{Deserialize, Serialize};

/// Delays after acceptance in milliseconds; `None` is never.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Receipts {
    /// Meta has sent it.
    pub sent: Option<u64>,
    /// It is on the customer's phone.
    pub delivered: Option<u64>,
    /// The customer has seen it.
    pub read: Option<u64>,
    /// Extra copies of each webhook.
    pub duplicates: u32,
    /// The webhooks come in another order; their timestamps stay true.
    pub shuffle: bool,
    /// One webhook tells all.
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

/// A webhook to come.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// When, after acceptance.
    pub after_ms: u64,
    /// What it tells: status, and when that happened after acceptance.
    pub statuses: Vec<(&'static str, u64)>,
}

impl Receipts {
    /// The webhooks for one message. `random` decides about the order.
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
            // A rotation other than none: never the true order.
            let shift = 1 + usize::try_from(random % (delays.len() as u64 - 1)).unwrap_or(0);
            for (webhook, delay) in plan.iter_mut().zip(delays.iter().cycle().skip(shift)) {
                webhook.after_ms = *delay;
            }
        }
        let copies = 1 + self.duplicates as usize;
        plan.into_iter().flat_map(|webhook| std::iter::repeat_n(webhook, copies)).collect()
    }
}

/// The next number of a small generator (`SplitMix64`): the same seed, the same order.
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
    fn statuses_follow_in_order() {
        let plan = Receipts::default().plan(false, 1);
        assert_eq!(order(&plan), ["sent", "delivered", "read"]);
    }

    #[test]
    fn a_receipt_can_be_left_out() {
        let receipts = Receipts { delivered: None, ..Receipts::default() };
        assert_eq!(order(&receipts.plan(false, 1)), ["sent", "read"]);
    }

    #[test]
    fn shuffled_statuses_never_come_in_order_and_keep_their_times() {
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
    fn together_is_one_webhook_and_failure_the_only_status() {
        let receipts = Receipts { together: true, ..Receipts::default() };
        let plan = receipts.plan(false, 1);
        assert_eq!((plan.len(), plan[0].statuses.len()), (1, 3));
        assert_eq!(order(&Receipts::default().plan(true, 1)), ["failed"]);
    }
}
