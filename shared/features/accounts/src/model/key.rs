//! Limits of API keys.

use std::time::Duration;

/// Maximum number of API keys of a tenant, including expired ones.
pub const MAX_KEYS: u32 = 100;
/// Maximum number of addresses and CIDR blocks that a key may be used from.
pub const MAX_ALLOWED_IPS: usize = 20;
/// Precision of the time at which a key was last used: it is written at most this often.
pub const LAST_USED_PRECISION: Duration = Duration::from_hours(1);
