//! Leases: one holder at a time works on an item.

use std::time::Duration;

use domain::failpoint::{self, Failpoint};
use domain::ports::PortResult;
use jiff::Timestamp;

use crate::{Item, Key, Table, Write, item, ms, n, number, s, text, time};

/// The lease on items of one kind: one holder at a time works on an item, until it ends the lease
/// or the lease expires.
///
/// A holder's item has the attributes `lease_until`, `attempt` (how often the item was claimed) and,
/// if the holder has one, `token`.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    /// Attribute with the state of an item.
    pub state: &'static str,
    /// State of an item that waits for a holder.
    pub waiting: &'static str,
    /// State of an item that has a holder.
    pub held: &'static str,
}

/// A holder that asks for a lease.
#[derive(Clone, Copy, Debug)]
pub struct LeaseRequest<'a> {
    /// Current time.
    pub now: Timestamp,
    /// Length of the lease.
    pub duration: Duration,
    /// Identifies the holder; `None` if any holder is as good as another.
    pub token: Option<&'a str>,
    /// Whether an item that does not exist may be claimed. The claim creates it.
    pub may_create: bool,
    /// Further condition on an item that waits.
    pub if_waiting: Option<&'a str>,
    /// Whether an expired lease may be taken over, and on which further condition.
    pub take_over: TakeOver<'a>,
}

/// Whether an expired lease may be taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeOver<'a> {
    /// Never.
    Never,
    /// Always.
    Always,
    /// On a condition.
    If(&'a str),
}

/// The current holder of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// When the lease expires, or has expired.
    pub until: Timestamp,
    /// How often the item was claimed.
    pub attempt: u32,
    /// Token of the holder, if it has one.
    pub token: Option<String>,
}

impl Lease {
    /// Adds to an update that it takes the lease, on the condition that the request may have it.
    pub fn claim(&self, update: Write, request: &LeaseRequest<'_>) -> Write {
        let Self { state, waiting, held } = self;
        let is_ignored = failpoint::is_active(Failpoint::LeaseIgnored);
        let also = |condition: Option<&str>| {
            condition.map_or_else(String::new, |condition| format!(" AND {condition}"))
        };
        let mut allowed = Vec::new();
        if request.may_create {
            allowed.push("attribute_not_exists(pk)".to_owned());
        }
        allowed.push(format!("(#{state} = :waiting{})", also(request.if_waiting)));
        let expired = match request.take_over {
            _ if is_ignored => Some(String::new()),
            TakeOver::Never => None,
            TakeOver::Always => Some(" AND lease_until < :now".to_owned()),
            TakeOver::If(condition) => {
                Some(format!(" AND lease_until < :now{}", also(Some(condition))))
            }
        };
        allowed.extend(expired.map(|expired| format!("(#{state} = :held{expired})")));
        let condition = allowed.join(" OR ");
        let is_timed = condition.contains(":now");
        let mut update = update
            .set(format!(
                "#{state} = :held, lease_until = :until, \
                 attempt = if_not_exists(attempt, :zero) + :one"
            ))
            .only_if(condition)
            .value(":waiting", s(*waiting))
            .value(":held", s(*held))
            .value(":until", ms(request.now + request.duration))
            .value(":zero", n(0))
            .value(":one", n(1));
        if is_timed {
            update = update.value(":now", ms(request.now));
        }
        match request.token {
            Some(token) => update.set("#token = :token").value(":token", s(token)),
            None => update,
        }
    }

    /// Adds to an update that it ends the lease. The update sets the new state.
    pub fn end(update: Write) -> Write {
        update.remove("#token, lease_until")
    }

    /// Adds to a write the condition that the item has a holder.
    pub fn if_held(&self, write: Write) -> Write {
        write.only_if(format!("#{} = :held", self.state)).value(":held", s(self.held))
    }

    /// Adds to a write the condition that the last holder is the one with `token`.
    pub fn if_last_holder(write: Write, token: &str) -> Write {
        write.only_if("#token = :token").value(":token", s(token))
    }

    /// Returns the holder of an item; `None` if it has none.
    #[must_use]
    pub fn holder(&self, item: &Item) -> Option<Holder> {
        (text(item, self.state) == Some(self.held)).then_some(())?;
        Some(Holder {
            until: time(item, "lease_until").unwrap_or(Timestamp::UNIX_EPOCH),
            attempt: attempt(item)?,
            token: text(item, "token").map(ToOwned::to_owned),
        })
    }
}

/// Returns how often an item was claimed.
#[must_use]
pub fn attempt(item: &Item) -> Option<u32> {
    number(item, "attempt")?.try_into().ok()
}

impl Table {
    /// Locks `key` until `until`; returns `false` if another holder has locked it. A lock that has
    /// expired is free.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn lock(
        &self,
        operation: &'static str,
        key: &Key,
        now: Timestamp,
        until: Timestamp,
    ) -> PortResult<bool> {
        let lock = self
            .put(item(key, [("until", ms(until))]))
            .only_if("attribute_not_exists(pk) OR #until < :now")
            .value(":now", ms(now));
        Ok(lock.apply(operation).await?.is_done())
    }

    /// Ends the lock that was taken until `until`. A lock that has expired and has another holder
    /// stays.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn unlock(
        &self,
        operation: &'static str,
        key: &Key,
        until: Timestamp,
    ) -> PortResult<()> {
        let delete = self.delete(key).only_if("#until = :until").value(":until", ms(until));
        delete.apply(operation).await.map(|_| ())
    }
}
