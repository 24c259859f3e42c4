//! Polls messages during the run to check that their status never moves backward.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
    time::Duration,
};

use serde_json::Value;

use super::{evidence::rank, fixtures::Fixtures, observations::Observations, rng::Rng};

const POLL: Duration = Duration::from_millis(150);
/// Number of recently accepted messages to poll. Older ones no longer change.
const RECENT: usize = 60;

/// Whether a status may follow another one.
fn may_follow(before: &str, now: &str) -> bool {
    // A sender that releases its claim returns the message to the queue.
    rank(now) >= rank(before) || (before == "sending" && now == "queued")
}

/// Polls random messages while `on`. Returns the number of polls, and the status changes that moved
/// backward.
pub(crate) fn watch(
    fixtures: &Fixtures,
    seen: &Mutex<Observations>,
    mut rng: Rng,
    on: &AtomicBool,
) -> (u64, Vec<String>) {
    let mut known = BTreeMap::<String, String>::new();
    let mut polls = 0;
    let mut regressions = Vec::new();
    while on.load(Ordering::Relaxed) {
        sleep(POLL);
        let chosen = {
            let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let recent = seen.accepted.iter().rev().take(RECENT).collect::<Vec<_>>();
            rng.pick(&recent).map(|(tenant, id)| (tenant.clone(), id.clone()))
        };
        let Some((tenant, id)) = chosen else { continue };
        let Some(tenant) = fixtures.tenants.iter().find(|one| one.id == tenant) else { continue };
        // While faults are injected, the hub may fail to respond.
        let Ok((200, shown)) = tenant.api.send("GET", &format!("/messages/{id}"), None) else {
            continue;
        };
        polls += 1;
        let now = shown.get("status").and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Some(before) = known.insert(id, now.clone())
            && !may_follow(&before, &now)
        {
            regressions.push(format!("was {before}, later {now}: {shown}"));
        }
    }
    (polls, regressions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_moves_forward_except_when_a_claim_is_released() {
        assert!(may_follow("queued", "read") && may_follow("sent", "sent"));
        assert!(may_follow("sending", "queued") && may_follow("failed", "delivered"));
        assert!(!may_follow("accepted", "queued") && !may_follow("read", "delivered"));
        assert!(!may_follow("unknown", "sending"));
    }
}
