//! Send ledger.

use std::time::Duration;

use domain::failpoint::{self, Failpoint};
use domain::message::{Message, Status, Step};
use domain::ports::PortResult;
use domain::sender::{Accepted, RateLimit};
use domain::task::{HandedOver, SendTask};
use domain::{Provider, TenantId};
use futures::future::try_join_all;
use jiff::Timestamp;
use table::{
    AttributeValue, Item, Key, Lease, LeaseRequest, TakeOver, VERSION, Write, Written, attempt,
    corrupt, item, json, ms, n, number, s, text, ttl,
};

use super::item::{document, handed_over, read_message, steps};
use super::{Repository, keys};
use crate::ports::{AttemptEnd, Claim, Outbox};

/// A message that waits is queued, and one that has a holder is being sent.
const LEASE: Lease =
    Lease { state: "status", waiting: Status::Queued.as_str(), held: Status::Sending.as_str() };

impl Outbox for Repository {
    async fn claim(
        &self,
        task: &SendTask,
        token: &str,
        now: Timestamp,
        lease: Duration,
        retake: bool,
    ) -> PortResult<Claim> {
        let operation = "claim a message";
        let message = &task.message;
        let request = LeaseRequest {
            now,
            duration: lease,
            token: Some(token),
            // The message may not be stored yet, although the API has accepted it. The queue record
            // contains all of it.
            may_create: true,
            if_waiting: None,
            take_over: if retake { TakeOver::Always } else { TakeOver::Never },
        };
        let update = self
            .table
            .update(&keys::message(&message.tenant, message.id))
            .set(
                "doc = if_not_exists(doc, :doc), v = if_not_exists(v, :v), \
                 gsi1pk = if_not_exists(gsi1pk, :gsi1pk), gsi1sk = if_not_exists(gsi1sk, :gsi1sk), \
                 history = if_not_exists(history, :history), #rank = :rank, claimed_at = :claimed",
            )
            .value(":doc", document(operation, message)?)
            .value(":v", n(VERSION))
            .value(":gsi1pk", s(keys::messages_of(&message.tenant, message.conversation)))
            .value(":gsi1sk", s(keys::message_sort_key(message.created_at, message.id)))
            .value(":history", steps(operation, &message.history)?)
            .value(":rank", n(Status::Sending.rank()))
            .value(":claimed", ms(now))
            .return_updated()
            .return_refused();
        let update = match self.retention().period() {
            Some(period) => update
                .set("#ttl = if_not_exists(#ttl, :ttl)")
                .value(":ttl", ttl(message.created_at, period)),
            None => update,
        };
        let update = match task.standby() {
            Some(standby) => {
                update.set("standby = :standby").value(":standby", json(operation, &standby)?)
            }
            None => update,
        };
        let update = if retake {
            // Only an attempt that was interrupted has left the time of its claim.
            update
                .set("in_doubt_at = if_not_exists(in_doubt_at, :claimed)")
                .only_if("attribute_exists(claimed_at)")
        } else {
            update
        };
        // A record that is older than a handover must not claim the message.
        let generation = task.failover.generation;
        let update = match generation {
            0 => update.only_if("attribute_not_exists(generation)"),
            _ => update.only_if("generation = :generation").value(":generation", n(generation)),
        };
        let item = match LEASE.claim(update, &request).apply(operation).await? {
            Written::Done(item) => {
                let attempt = attempt(&item).ok_or_else(|| corrupt(operation, "attempt"))?;
                return Ok(Claim::Granted { attempt });
            }
            Written::Refused(item) => item,
        };
        if is_open(&item) && number(&item, "generation").unwrap_or(0) > i64::from(generation) {
            let to = handed_over(operation, &item)?;
            let to = to.ok_or_else(|| corrupt(operation, "handed_over"))?;
            return Ok(Claim::HandedOver(Box::new(to)));
        }
        if text(&item, "status") != Some(Status::Sending.as_str()) {
            return Ok(Claim::Settled(Box::new(read_message(operation, &item)?)));
        }
        let holder = LEASE.holder(&item).ok_or_else(|| corrupt(operation, "attempt"))?;
        let held_by = holder.token.unwrap_or_default();
        Ok(if held_by == token {
            // Our own claim, whose response was lost.
            Claim::Granted { attempt: holder.attempt }
        } else if holder.until >= now {
            Claim::Held { until: holder.until }
        } else {
            Claim::Interrupted { attempt: holder.attempt, token: held_by }
        })
    }

    async fn release(
        &self,
        message: &Message,
        token: &str,
        ended: AttemptEnd<'_>,
    ) -> PortResult<()> {
        let operation = "release a message";
        // If the claim is no longer ours, there is nothing to release.
        self.release_claim(operation, message, token, ended, None).await.map(|_| ())
    }

    async fn hand_over(
        &self,
        message: &Message,
        token: &str,
        ended: AttemptEnd<'_>,
        to: &HandedOver,
    ) -> PortResult<bool> {
        let operation = "hand a message over";
        self.release_claim(operation, message, token, ended, Some(to)).await
    }

    async fn settle(
        &self,
        message: &Message,
        token: &str,
        transitions: &[Step],
        accepted: Option<&Accepted>,
    ) -> PortResult<Option<Message>> {
        let operation = "settle a message";
        // Write the references first: after the message is settled, nothing writes them.
        let now = transitions.last().map_or(Timestamp::UNIX_EPOCH, |step| step.at);
        let ids = accepted.into_iter().flat_map(Accepted::provider_message_ids);
        let references = ids.map(|provider_message_id| {
            let tenant = &message.tenant;
            let key = match message.provider {
                Provider::Custom => {
                    keys::custom_reference(tenant, message.integration, provider_message_id)
                }
                provider => keys::reference(tenant, provider, provider_message_id),
            };
            let reference = item(
                &key,
                [
                    ("message", s(message.id.to_string())),
                    ("ttl", ttl(now, keys::REFERENCE_RETENTION)),
                ],
            );
            self.table.put(reference).apply(operation)
        });
        try_join_all(references).await?;
        let provider_message_id = accepted.map(Accepted::provider_message_id);
        self.settle_item(operation, message, token, transitions, provider_message_id).await
    }

    async fn take_rate_limit(
        &self,
        tenant: &TenantId,
        rate_limit: &RateLimit,
        now: Timestamp,
    ) -> PortResult<Option<Duration>> {
        let operation = "update a rate limit counter";
        let length = i64::try_from(rate_limit.per.as_secs()).unwrap_or(1).max(1);
        let window = now.as_second() - now.as_second().rem_euclid(length);
        let counted = self
            .table
            .update(&keys::rate_limit(tenant, &rate_limit.identity, window))
            .set("#ttl = :ttl")
            .add_to("#n :one")
            .only_if("attribute_not_exists(#n) OR #n < :limit")
            .value(":one", n(1))
            .value(":limit", n(rate_limit.messages))
            .value(":ttl", ttl(now, keys::RATE_LIMIT_RETENTION));
        if counted.apply(operation).await?.is_done() {
            return Ok(None);
        }
        let end = (window + length) * 1000;
        let wait = u64::try_from(end - now.as_millisecond()).unwrap_or(1);
        Ok(Some(Duration::from_millis(wait.max(1))))
    }
}

/// Returns whether a message has no final status yet.
fn is_open(item: &Item) -> bool {
    let status = text(item, "status").and_then(Status::from_name);
    matches!(status, Some(Status::Queued | Status::Sending))
}

/// Returns whether a status says that the message was not sent.
const fn is_unsent(status: Status) -> bool {
    matches!(status, Status::Failed | Status::Expired)
}

/// Adds the end of the claim to an update.
fn end_claim(update: Write) -> Write {
    Lease::end(update).remove("claimed_at")
}

impl Repository {
    /// Releases a claim, or hands the message over; returns `false` if the claim is no longer ours.
    async fn release_claim(
        &self,
        operation: &'static str,
        message: &Message,
        token: &str,
        ended: AttemptEnd<'_>,
        to: Option<&HandedOver>,
    ) -> PortResult<bool> {
        let mut update = self
            .table
            .update(&keys::message(&message.tenant, message.id))
            .set("#status = :queued, #rank = :rank, history = list_append(history, :steps)")
            .value(":queued", s(Status::Queued.as_str()))
            .value(":rank", n(Status::Queued.rank()))
            .value(":steps", steps(operation, ended.steps)?);
        if let Some(to) = to {
            update = update
                .set("generation = :generation, handed_over = :to, integration = :integration")
                .value(":generation", n(to.failover.generation))
                .value(":to", json(operation, to)?)
                .value(":integration", s(to.integration.to_string()));
        }
        if ended.in_doubt {
            let at = ended.steps.last().map_or(message.created_at, |step| step.at);
            update = update
                .set("in_doubt_at = if_not_exists(in_doubt_at, :doubt)")
                .value(":doubt", ms(at));
        }
        if !ended.counted {
            update = update.set("attempt = attempt - :one").value(":one", n(1));
        }
        let update = LEASE.if_held(Lease::if_last_holder(end_claim(update), token));
        Ok(update.apply(operation).await?.is_done())
    }

    async fn settle_item(
        &self,
        operation: &'static str,
        message: &Message,
        token: &str,
        transitions: &[Step],
        provider_message_id: Option<&str>,
    ) -> PortResult<Option<Message>> {
        let key = keys::message(&message.tenant, message.id);
        let mut transitions = transitions.to_vec();
        let mut settled =
            self.settle_status(operation, &key, token, &transitions, provider_message_id).await?;
        if let Written::Refused(item) = &settled
            && item.contains_key("in_doubt_at")
            && let Some(last) = transitions.last_mut()
            && is_unsent(last.status)
        {
            last.status = Status::Unknown;
            let why = last.detail.as_deref().unwrap_or("it was refused");
            let detail = format!(
                "an earlier attempt may have sent the message; the last one did not: {why}"
            );
            last.detail = Some(detail);
            settled = self
                .settle_status(operation, &key, token, &transitions, provider_message_id)
                .await?;
        }
        let item = match settled {
            Written::Done(item) => item,
            Written::Refused(_) => {
                // A receipt has already advanced the status: keep the status, and write the history
                // and the provider message id.
                let transitions = steps(operation, &transitions)?;
                let updated = self.settle_update(&key, token, transitions, provider_message_id);
                match updated.apply(operation).await? {
                    Written::Done(item) => item,
                    Written::Refused(_) => return Ok(None),
                }
            }
        };
        read_message(operation, &item).map(Some)
    }

    /// Ends the claim with the status of the last step, unless a receipt has advanced the status or
    /// the status would deny that an earlier attempt may have sent the message.
    async fn settle_status(
        &self,
        operation: &'static str,
        key: &Key,
        token: &str,
        transitions: &[Step],
        provider_message_id: Option<&str>,
    ) -> PortResult<Written> {
        let status = transitions.last().map_or(Status::Unknown, |step| step.status);
        let mut settled = self
            .settle_update(key, token, steps(operation, transitions)?, provider_message_id)
            .set("#status = :status, #rank = :rank")
            .value(":status", s(status.as_str()))
            .value(":rank", n(status.rank()))
            .return_refused();
        if is_unsent(status) {
            settled = settled.only_if("attribute_not_exists(in_doubt_at)");
        }
        if !failpoint::is_active(Failpoint::ReceiptOverwrittenBySettle) {
            settled = settled.only_if("#rank < :rank");
        }
        settled.apply(operation).await
    }

    /// Returns an update that ends the claim with `token`, but for the status.
    fn settle_update(
        &self,
        key: &Key,
        token: &str,
        transitions: AttributeValue,
        provider_message_id: Option<&str>,
    ) -> Write {
        let update = self
            .table
            .update(key)
            .set("history = list_append(history, :steps)")
            .value(":steps", transitions)
            .return_item();
        let update = Lease::if_last_holder(end_claim(update), token);
        match provider_message_id {
            Some(provider_message_id) => update
                .set("provider_message_id = :provider_message_id")
                .value(":provider_message_id", s(provider_message_id)),
            None => update,
        }
    }
}
