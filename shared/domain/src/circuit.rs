//! Circuit breaker settings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Circuit breaker settings of an integration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Breaker {
    /// Failures within the window that open the circuit.
    pub failures: u32,
    /// Length of the window in seconds.
    pub window_seconds: u32,
    /// The longest pause between two probes of an open circuit, in seconds. In the first minute
    /// it is probed every two seconds; then the pauses double, up to this.
    pub open_seconds: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: 5, window_seconds: 60, open_seconds: 30 }
    }
}
