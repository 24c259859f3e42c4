//! Which of a tenant's integrations carry their messages on a channel, and in which order.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::IntegrationId;

/// How long a carrier may ask to wait before the next one is asked, unless the tenant says
/// otherwise: seconds after the message was accepted.
pub const PATIENCE: u32 = 60;

/// Which integrations carry a tenant's messages on a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The carriers; the first is the one they prefer.
    pub carriers: Vec<Carrier>,
    /// How one is chosen.
    pub policy: Policy,
}

/// One of the integrations of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Carrier {
    /// Which.
    pub integration: IntegrationId,
    /// Its share of new conversations, by the policy `weighted`.
    #[serde(default = "one")]
    pub weight: u32,
}

const fn one() -> u32 {
    1
}

/// How a carrier is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Who is asked first.
    pub choice: Choice,
    /// How long after a message was accepted a carrier may ask to wait before the next one is
    /// asked, in seconds.
    pub patience_seconds: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self { choice: Choice::default(), patience_seconds: PATIENCE }
    }
}

/// Who is asked first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// The first of the list.
    #[default]
    Ordered,
    /// Any, by weight. One that weighs nothing is asked only if the others cannot.
    Weighted,
}

impl Route {
    /// The carriers in the order in which they are asked. `first` is asked first if it is one
    /// of them: a conversation stays with its account. `fraction` (uniform in `0.0..1.0`)
    /// draws by weight; the rest follow in the order of the list.
    #[must_use]
    pub fn order(&self, first: Option<IntegrationId>, fraction: f64) -> Vec<IntegrationId> {
        let known = |id: &IntegrationId| self.carriers.iter().any(|c| c.integration == *id);
        let chosen = first.filter(known).or_else(|| match self.policy.choice {
            Choice::Ordered => None,
            Choice::Weighted => self.drawn(fraction),
        });
        let rest = self.carriers.iter().map(|carrier| carrier.integration);
        chosen.into_iter().chain(rest.filter(|id| Some(*id) != chosen)).collect()
    }

    fn drawn(&self, fraction: f64) -> Option<IntegrationId> {
        let total: f64 = self.carriers.iter().map(|carrier| f64::from(carrier.weight)).sum();
        let mut left = fraction.clamp(0.0, 1.0) * total;
        let mut heavy = self.carriers.iter().filter(|carrier| carrier.weight > 0).peekable();
        while let Some(carrier) = heavy.next() {
            left -= f64::from(carrier.weight);
            if left < 0.0 || heavy.peek().is_none() {
                return Some(carrier.integration);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(name: &str) -> IntegrationId {
        IntegrationId::derived(&[name])
    }

    fn route(choice: Choice, weights: &[u32]) -> Route {
        let carriers = weights.iter().zip('a'..);
        let carriers = carriers
            .map(|(weight, name)| Carrier { integration: id(&name.to_string()), weight: *weight });
        let policy = Policy { choice, ..Policy::default() };
        Route { carriers: carriers.collect(), policy }
    }

    #[test]
    fn carriers_are_asked_in_the_order_of_the_list() {
        let route = route(Choice::Ordered, &[1, 1, 1]);
        assert_eq!(route.order(None, 0.9), [id("a"), id("b"), id("c")]);
    }

    #[test]
    fn a_conversation_stays_with_its_account() {
        let route = route(Choice::Weighted, &[1, 1, 1]);
        assert_eq!(route.order(Some(id("b")), 0.9), [id("b"), id("a"), id("c")]);
        assert_eq!(route.order(Some(id("x")), 0.0)[0], id("a"), "if it is one of them");
    }

    #[test]
    fn weights_share_out_who_is_asked_first() {
        let route = route(Choice::Weighted, &[3, 0, 1]);
        let first = |fraction| route.order(None, fraction)[0];
        assert_eq!((first(0.0), first(0.74)), (id("a"), id("a")));
        assert_eq!((first(0.76), first(1.0)), (id("c"), id("c")));
        assert_eq!(route.order(None, 0.8), [id("c"), id("a"), id("b")]);
    }

    proptest! {
        #[test]
        fn each_carrier_is_asked_once(
            weights in prop::collection::vec(0_u32..5, 0..6), fraction in 0.0..1.0_f64,
            weighted: bool, first in prop::option::of("[a-h]"),
        ) {
            let choice = if weighted { Choice::Weighted } else { Choice::Ordered };
            let route = route(choice, &weights);
            let mut order = route.order(first.map(|name| id(&name)), fraction);
            let mut all: Vec<_> = route.carriers.iter().map(|c| c.integration).collect();
            order.sort_unstable_by_key(ToString::to_string);
            all.sort_unstable_by_key(ToString::to_string);
            prop_assert_eq!(order, all);
        }
    }
}
