//! Routes: which of a tenant's integrations send their messages on a channel, and in which order.

use domain::IntegrationId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The default limit on waiting for a rate-limited integration before failover, in seconds after
/// the message was accepted.
pub const DEFAULT_PATIENCE_SECONDS: u32 = 60;

/// A route: the integrations that send a tenant's messages on a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The integrations, in order of preference.
    pub integrations: Vec<RoutedIntegration>,
    /// How the first integration is chosen.
    pub policy: Policy,
}

/// An integration in a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoutedIntegration {
    /// The integration.
    pub integration: IntegrationId,
    /// Its share of new conversations, with the policy `weighted`.
    #[serde(default = "default_weight")]
    pub weight: u32,
}

const fn default_weight() -> u32 {
    1
}

/// How an integration is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Which integration is tried first.
    pub choice: Choice,
    /// How long a message may wait for a rate-limited integration before it fails over to the next
    /// one, in seconds after it was accepted.
    pub patience_seconds: u32,
    /// Whether a message that its provider accepted, and then could not deliver for a reason of its
    /// own, is sent once more, through the next provider. The customer may receive it twice.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub failover_after_acceptance: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            choice: Choice::default(),
            patience_seconds: DEFAULT_PATIENCE_SECONDS,
            failover_after_acceptance: false,
        }
    }
}

/// Which integration is tried first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// The first in the list.
    #[default]
    Ordered,
    /// A random one, by weight. One with weight 0 is tried only if the others fail.
    Weighted,
}

impl Route {
    /// Returns the integrations in the order in which they are tried. `first`, the integration of
    /// the conversation so far, is tried first if it is in the route. `fraction` (uniform in
    /// `0.0..1.0`) selects by weight; the rest follow in the order of the list.
    #[must_use]
    pub fn order(&self, first: Option<IntegrationId>, fraction: f64) -> Vec<IntegrationId> {
        let known = |id: &IntegrationId| self.integrations.iter().any(|c| c.integration == *id);
        let chosen = first.filter(known).or_else(|| match self.policy.choice {
            Choice::Ordered => None,
            Choice::Weighted => self.select_by_weight(fraction),
        });
        let rest = self.integrations.iter().map(|carrier| carrier.integration);
        chosen.into_iter().chain(rest.filter(|id| Some(*id) != chosen)).collect()
    }

    fn select_by_weight(&self, fraction: f64) -> Option<IntegrationId> {
        let total: f64 = self.integrations.iter().map(|carrier| f64::from(carrier.weight)).sum();
        let mut left = fraction.clamp(0.0, 1.0) * total;
        let mut weighted = self.integrations.iter().filter(|carrier| carrier.weight > 0).peekable();
        while let Some(carrier) = weighted.next() {
            left -= f64::from(carrier.weight);
            if left < 0.0 || weighted.peek().is_none() {
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
        let carriers = carriers.map(|(weight, name)| RoutedIntegration {
            integration: id(&name.to_string()),
            weight: *weight,
        });
        let policy = Policy { choice, ..Policy::default() };
        Route { integrations: carriers.collect(), policy }
    }

    #[test]
    fn integrations_are_tried_in_the_order_of_the_list() {
        let route = route(Choice::Ordered, &[1, 1, 1]);
        assert_eq!(route.order(None, 0.9), [id("a"), id("b"), id("c")]);
    }

    #[test]
    fn a_conversation_keeps_its_integration() {
        let route = route(Choice::Weighted, &[1, 1, 1]);
        assert_eq!(route.order(Some(id("b")), 0.9), [id("b"), id("a"), id("c")]);
        assert_eq!(route.order(Some(id("x")), 0.0)[0], id("a"), "only if it is in the route");
    }

    #[test]
    fn weights_set_the_share_of_messages_for_which_each_integration_is_tried_first() {
        let route = route(Choice::Weighted, &[3, 0, 1]);
        let first = |fraction| route.order(None, fraction)[0];
        assert_eq!((first(0.0), first(0.74)), (id("a"), id("a")));
        assert_eq!((first(0.76), first(1.0)), (id("c"), id("c")));
        assert_eq!(route.order(None, 0.8), [id("c"), id("a"), id("b")]);
    }

    proptest! {
        #[test]
        fn each_integration_is_tried_once(
            weights in prop::collection::vec(0_u32..5, 0..6), fraction in 0.0..1.0_f64,
            weighted: bool, first in prop::option::of("[a-h]"),
        ) {
            let choice = if weighted { Choice::Weighted } else { Choice::Ordered };
            let route = route(choice, &weights);
            let mut order = route.order(first.map(|name| id(&name)), fraction);
            let mut all: Vec<_> = route.integrations.iter().map(|c| c.integration).collect();
            order.sort_unstable_by_key(ToString::to_string);
            all.sort_unstable_by_key(ToString::to_string);
            prop_assert_eq!(order, all);
        }
    }
}
