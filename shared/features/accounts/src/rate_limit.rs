//! Rate limits of API keys and tenants, counted in the feature's table.
//!
//! A sandbox takes permits in small batches by one conditional write each, and serves requests from
//! them until the minute ends. So the limits hold for all sandboxes together, at about a tenth of a
//! write a request. If the table does not answer, requests pass.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::ports::{Clock, PortResult};
use domain::{KeyId, TenantId};
use jiff::Timestamp;
use runtime::api::{Permit, RateLimit, RateLimiter, RequestClass, Resource};
use runtime::telemetry::{self, Metric};
use runtime::{AwsEnv, Error, Kit, Production};

use crate::Repository;
use crate::model::limits::{Counts, Limits, batch_size};
use crate::ports::{LimitReader, PermitOutcome, RateCounter, RateWindow};

/// How long a tenant's limits are cached.
const LIMITS_LIFETIME: Duration = Duration::from_mins(1);
/// Time limit of a request's check: the table answers within some milliseconds, and a request does
/// not wait for a table that does not.
const CHECK_TIMEOUT: Duration = Duration::from_millis(500);
/// Largest number of cached entries of one kind.
const MAX_ENTRIES: usize = 1000;
/// Largest number of writes for one request. Each asks for half of what the one before found left.
const MAX_WRITES: u32 = 8;

/// Rate limiter of a sandbox.
#[derive(Debug)]
pub struct KeyRateLimiter<S, C> {
    store: S,
    clock: C,
    limits: Mutex<HashMap<TenantId, (Timestamp, Limits)>>,
    allowances: Mutex<HashMap<(KeyId, RequestClass), Allowance>>,
}

/// Permits of a key for a class of requests in a minute.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    minute: i64,
    /// Permits that this sandbox took and has not used.
    unused: u32,
    /// Size of the last batch; 0 before the first.
    batch: u32,
    /// The limit that is closest to being exhausted.
    limit: u32,
    /// Permits that were left of it after the last write.
    left: u32,
}

impl Allowance {
    const fn new(minute: i64) -> Self {
        Self { minute, unused: 0, batch: 0, limit: u32::MAX, left: u32::MAX }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: LimitReader + RateCounter, C: Clock> KeyRateLimiter<S, C> {
    /// Creates the limiter of a sandbox.
    #[must_use]
    pub fn new(store: S, clock: C) -> Self {
        Self { store, clock, limits: Mutex::default(), allowances: Mutex::default() }
    }

    /// Takes a permit from those that the sandbox has. `Err` holds what is known of the minute.
    fn take_unused(
        &self,
        key: KeyId,
        class: RequestClass,
        minute: i64,
    ) -> Result<Allowance, Allowance> {
        let mut allowances = lock(&self.allowances);
        let known = allowances.get_mut(&(key, class)).filter(|known| known.minute == minute);
        let Some(known) = known else { return Err(Allowance::new(minute)) };
        let Some(unused) = known.unused.checked_sub(1) else { return Err(*known) };
        known.unused = unused;
        Ok(*known)
    }

    /// Adds a batch to the permits of the sandbox, or records that none is left.
    fn record(&self, key: KeyId, class: RequestClass, taken: Allowance) {
        let mut allowances = lock(&self.allowances);
        if allowances.len() >= MAX_ENTRIES {
            allowances.retain(|_, known| known.minute == taken.minute);
        }
        // Too many in one minute: the permits of the others are lost, no limit is exceeded.
        if allowances.len() >= MAX_ENTRIES {
            allowances.clear();
        }
        let known = allowances.entry((key, class)).or_insert(Allowance::new(taken.minute));
        // A request of the same key may have taken a batch meanwhile.
        let kept = if known.minute == taken.minute { known.unused } else { 0 };
        *known = Allowance { unused: kept.saturating_add(taken.unused), ..taken };
    }

    async fn limits(&self, tenant: &TenantId, now: Timestamp) -> PortResult<Limits> {
        let known = lock(&self.limits).get(tenant).copied();
        if let Some((read_at, limits)) = known
            && now.duration_since(read_at).unsigned_abs() < LIMITS_LIFETIME
        {
            return Ok(limits);
        }
        let limits = self.store.limits(tenant).await?;
        let mut known = lock(&self.limits);
        if known.len() >= MAX_ENTRIES {
            known.clear();
        }
        known.insert(tenant.clone(), (now, limits));
        Ok(limits)
    }

    /// Takes a batch of permits from the table, one of which is for the current request. Returns
    /// whether the request has it.
    async fn take_batch(
        &self,
        window: RateWindow<'_>,
        known: Allowance,
        now: Timestamp,
    ) -> PortResult<(Allowance, bool)> {
        let limits = Counts::limits(self.limits(window.tenant, now).await?, window.class);
        let smallest = limits.key.min(limits.tenant);
        let mut count = batch_size(known.batch, known.left.min(smallest));
        for _write in 0..MAX_WRITES {
            match self.store.take_permits(window, count, limits).await? {
                PermitOutcome::Taken(taken) => {
                    let (limit, left) = limits.tightest(taken);
                    let unused = count.saturating_sub(1);
                    let taken = Allowance { batch: count, unused, limit, left, ..known };
                    return Ok((taken, true));
                }
                PermitOutcome::Exceeded(taken) => {
                    let (limit, left) = limits.tightest(taken);
                    if left == 0 {
                        return Ok((Allowance { unused: 0, limit, left, ..known }, false));
                    }
                    // Other sandboxes took permits since this one last looked.
                    count = (left / 2).max(1).min(count);
                }
            }
        }
        Ok((Allowance { unused: 0, limit: smallest, left: 0, ..known }, false))
    }
}

impl<S: LimitReader + RateCounter, C: Clock> RateLimiter for KeyRateLimiter<S, C> {
    async fn take(&self, tenant: &TenantId, key: KeyId, class: RequestClass) -> Permit {
        let now = self.clock.now();
        let minute = now.as_second().div_euclid(60);
        let reset = u32::try_from(60 - now.as_second().rem_euclid(60)).unwrap_or(60);
        let state = |of: Allowance| {
            let remaining = of.left.saturating_add(of.unused);
            RateLimit { limit: of.limit, remaining, reset, class }
        };
        let known = match self.take_unused(key, class, minute) {
            Ok(of) => return Permit::Granted(state(of)),
            Err(of) if of.left == 0 => return Permit::Refused(state(of)),
            Err(of) => of,
        };
        let window = RateWindow { tenant, key, class, minute };
        // On the heap: the future is large, and most requests do not need it.
        let batch = Box::pin(self.take_batch(window, known, now));
        match tokio::time::timeout(CHECK_TIMEOUT, batch).await {
            Ok(Ok((taken, is_granted))) => {
                self.record(key, class, taken);
                if is_granted {
                    Permit::Granted(state(taken))
                } else {
                    Permit::Refused(state(taken))
                }
            }
            Ok(Err(error)) => {
                tracing::warn!(%tenant, %error, "rate limit not checked");
                telemetry::count(Metric::RateLimitUnchecked, "api", 1);
                Permit::Unlimited
            }
            Err(_elapsed) => {
                tracing::warn!(%tenant, "rate limit not checked: the table did not answer in time");
                telemetry::count(Metric::RateLimitUnchecked, "api", 1);
                Permit::Unlimited
            }
        }
    }
}

/// Builds the limiter from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn limiter<E: AwsEnv>(kit: &Kit<E>) -> Result<KeyRateLimiter<Repository, E::Clock>, Error> {
    Ok(KeyRateLimiter::new(kit.repository()?, kit.clock.clone()))
}

/// Builds an API resource, opens its connections with `prewarm`, and serves it with rate limits until
/// Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing, or the Lambda runtime cannot be reached.
pub fn serve<R: Resource + 'static>(
    build: impl FnOnce(&Kit) -> Result<R, Error> + 'static,
    prewarm: impl AsyncFnOnce(&R) + 'static,
) -> Result<(), Error> {
    runtime::api::run_limited(build, limiter::<Production>, prewarm)
}
