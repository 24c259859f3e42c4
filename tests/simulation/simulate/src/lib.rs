//! The features in the simulation of the hub.

use messaging_simulation::Messaging;
use simulation::feature::Registry;

/// All features, each after those that it needs.
#[must_use]
pub fn registry() -> Registry {
    Registry::new().with(Messaging)
}
