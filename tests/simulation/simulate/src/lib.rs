//! The features that take part in the simulation of the hub.

use messaging_simulation::Messaging;
use simulation::feature::Registry;

/// All of them, each after those that it needs.
#[must_use]
pub fn registry() -> Registry {
    Registry::new().with(Messaging)
}
