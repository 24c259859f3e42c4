//! Sample automations and audit records.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use accounts::model::audit::{Action, Actor, AuditRecord, Change};
use accounts::model::automation::{Automation, Pull, Push};
use domain::{AuditId, IntegrationId, TenantId};
use jiff::Timestamp;

/// The audit record of a change that a test makes through a port. Each has its own id, also among
/// those of other processes, which may use the same table.
#[must_use]
pub fn audit(tenant: &TenantId) -> AuditRecord {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let nanoseconds = UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_nanos());
    let unique = format!("{nanoseconds}-{}-{number}", std::process::id());
    let target = IntegrationId::derived(&["audit"]);
    AuditRecord {
        id: AuditId::derived(&[&unique]),
        at: Timestamp::UNIX_EPOCH,
        tenant: tenant.clone(),
        actor: Actor::Platform,
        source_ip: None,
        request_id: None,
        change: Change::of_integration(Action::IntegrationUpdated, target),
    }
}

/// An automation that is notified by webhook.
#[must_use]
pub fn push() -> Automation {
    Automation::Push(Push {
        url: "https://automation.test/hook".to_owned(),
        allow_private_network: false,
        secret_at: Timestamp::UNIX_EPOCH,
        disabled_at: None,
    })
}

/// An automation whose workers pull jobs; if `notified`, it is also notified by webhook.
#[must_use]
pub fn pull(notified: bool) -> Automation {
    let push = match push() {
        Automation::Push(push) if notified => Some(push),
        _ => None,
    };
    Automation::Pull(Pull { job_ttl: 3600, push })
}
