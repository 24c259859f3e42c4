//! Looks at messages again and again while they travel: what was true stays true.

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

use super::{cast::Cast, dice::Dice, evidence::rank, seen::Seen};

const LOOK_EVERY: Duration = Duration::from_millis(150);
/// Only what was accepted lately still moves.
const LATELY: usize = 60;

/// Whether a message that was seen at one status may be seen at another later.
fn may_follow(before: &str, now: &str) -> bool {
    // A sender that gives up an attempt gives the message back.
    rank(now) >= rank(before) || (before == "sending" && now == "queued")
}

/// Looks at one message after another while `on`. Gives how often it looked, and what went
/// down.
pub(crate) fn watch(
    cast: &Cast,
    seen: &Mutex<Seen>,
    mut dice: Dice,
    on: &AtomicBool,
) -> (u64, Vec<String>) {
    let mut known = BTreeMap::<String, String>::new();
    let mut looks = 0;
    let mut fallen = Vec::new();
    while on.load(Ordering::Relaxed) {
        sleep(LOOK_EVERY);
        let chosen = {
            let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let lately = seen.accepted.iter().rev().take(LATELY).collect::<Vec<_>>();
            dice.pick(&lately).map(|(tenant, id)| (tenant.clone(), id.clone()))
        };
        let Some((tenant, id)) = chosen else { continue };
        let Some(tenant) = cast.tenants.iter().find(|one| one.id == tenant) else { continue };
        // With everything failing around it, the hub need not answer.
        let Ok((200, shown)) = tenant.api.send("GET", &format!("/messages/{id}"), None) else {
            continue;
        };
        looks += 1;
        let now = shown.get("status").and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Some(before) = known.insert(id, now.clone())
            && !may_follow(&before, &now)
        {
            fallen.push(format!("seen as {before}, and later as {now}: {shown}"));
        }
    }
    (looks, fallen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_goes_up_and_only_an_attempt_that_is_given_up_goes_back() {
        assert!(may_follow("queued", "read") && may_follow("sent", "sent"));
        assert!(may_follow("sending", "queued") && may_follow("failed", "delivered"));
        assert!(!may_follow("accepted", "queued") && !may_follow("read", "delivered"));
        assert!(!may_follow("unknown", "sending"));
    }
}
