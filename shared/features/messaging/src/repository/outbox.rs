//! Send ledger.

use std::time::Duration;

use domain::TenantId;
use domain::failpoint::{self, Failpoint};
use domain::message::{Message, Status, Step};
use domain::ports::PortResult;
use domain::sender::RateLimit;
use domain::task::{HandedOver, SendTask};
use jiff::Timestamp;
use table::{
    AttributeValue, Item, Key, ReturnValue, ReturnValuesOnConditionCheckFailure,
    UpdateItemFluentBuilder, VERSION, corrupt, failed, item, json, ms, n, number, refused, s, text,
    time, ttl,
};

use super::item::{document, handed_over, read_message, steps};
use super::{Repository, keys};
use crate::ports::{Claim, Outbox};

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
        // The message may not be stored yet, although the API has accepted it. The queue record
        // contains all of it.
        let mut condition = if failpoint::is_active(Failpoint::LeaseIgnored) {
            "attribute_not_exists(pk) OR #status IN (:queued, :sending)".to_owned()
        } else {
            "attribute_not_exists(pk) OR #status = :queued".to_owned()
        };
        if retake {
            condition.push_str(" OR (#status = :sending AND lease_until < :now)");
        }
        // A record that is older than a handover must not claim the message.
        let generation = task.failover.generation;
        let condition = match generation {
            0 => format!("({condition}) AND attribute_not_exists(generation)"),
            _ => format!("({condition}) AND generation = :generation"),
        };
        let mut update = self
            .table
            .update(&keys::message(&message.tenant, message.id))
            .update_expression(
                "SET doc = if_not_exists(doc, :doc), v = if_not_exists(v, :v), \
                 gsi1pk = if_not_exists(gsi1pk, :gsi1pk), gsi1sk = if_not_exists(gsi1sk, :gsi1sk), \
                 history = if_not_exists(history, :history), #status = :sending, #rank = :rank, \
                 #token = :token, lease_until = :until, claimed_at = :claimed, \
                 attempt = if_not_exists(attempt, :zero) + :one",
            )
            .condition_expression(condition)
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#rank", "rank")
            .expression_attribute_names("#token", "token")
            .expression_attribute_values(":doc", document(operation, message)?)
            .expression_attribute_values(":v", n(VERSION))
            .expression_attribute_values(
                ":gsi1pk",
                s(keys::messages_of(&message.tenant, message.conversation)),
            )
            .expression_attribute_values(
                ":gsi1sk",
                s(keys::message_sort_key(message.created_at, message.id)),
            )
            .expression_attribute_values(":history", steps(operation, &message.history)?)
            .expression_attribute_values(":queued", s(Status::Queued.as_str()))
            .expression_attribute_values(":sending", s(Status::Sending.as_str()))
            .expression_attribute_values(":rank", n(Status::Sending.rank()))
            .expression_attribute_values(":token", s(token))
            .expression_attribute_values(":until", ms(now + lease))
            .expression_attribute_values(":claimed", ms(now))
            .expression_attribute_values(":zero", n(0))
            .expression_attribute_values(":one", n(1))
            .return_values(ReturnValue::UpdatedNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        if retake {
            update = update.expression_attribute_values(":now", ms(now));
        }
        if generation > 0 {
            update = update.expression_attribute_values(":generation", n(generation));
        }
        let error = match update.send().await {
            Ok(answer) => {
                let attempt = answer.attributes.as_ref().and_then(attempt);
                let attempt = attempt.ok_or_else(|| corrupt(operation, "attempt"))?;
                return Ok(Claim::Granted { attempt });
            }
            Err(error) => error,
        };
        match refused(&error) {
            Some(item)
                if is_open(item)
                    && number(item, "generation").unwrap_or(0) > i64::from(generation) =>
            {
                let to = handed_over(operation, item)?;
                let to = to.ok_or_else(|| corrupt(operation, "handed_over"))?;
                Ok(Claim::HandedOver(Box::new(to)))
            }
            Some(item) if text(item, "status") == Some(Status::Sending.as_str()) => {
                let attempt = attempt(item).ok_or_else(|| corrupt(operation, "attempt"))?;
                let holder = text(item, "token").unwrap_or_default();
                let until = time(item, "lease_until").unwrap_or(now);
                Ok(if holder == token {
                    // Our own claim, whose response was lost.
                    Claim::Granted { attempt }
                } else if until >= now {
                    Claim::Held { until }
                } else {
                    Claim::Interrupted { attempt, token: holder.to_owned() }
                })
            }
            Some(item) => Ok(Claim::Settled(Box::new(read_message(operation, item)?))),
            None => Err(failed(operation, &error)),
        }
    }

    async fn release(
        &self,
        message: &Message,
        token: &str,
        transitions: &[Step],
    ) -> PortResult<()> {
        let operation = "release a message";
        let counted = !transitions.is_empty();
        // If the claim is no longer ours, there is nothing to release.
        self.release_claim(operation, message, token, transitions, counted, None).await.map(|_| ())
    }

    async fn hand_over(
        &self,
        message: &Message,
        token: &str,
        transitions: &[Step],
        counted: bool,
        to: &HandedOver,
    ) -> PortResult<bool> {
        let operation = "hand a message over";
        self.release_claim(operation, message, token, transitions, counted, Some(to)).await
    }

    async fn settle(
        &self,
        message: &Message,
        token: &str,
        transitions: &[Step],
        provider_message_id: Option<&str>,
    ) -> PortResult<Option<Message>> {
        let operation = "settle a message";
        if let Some(provider_message_id) = provider_message_id {
            // Write the reference first: after the message is settled, nothing writes it.
            let now = transitions.last().map_or(Timestamp::UNIX_EPOCH, |step| step.at);
            let reference = item(
                &keys::reference(&message.tenant, message.provider, provider_message_id),
                [
                    ("message", s(message.id.to_string())),
                    ("ttl", ttl(now, keys::REFERENCE_RETENTION)),
                ],
            );
            self.table.put(reference).send().await.map_err(|error| failed(operation, &error))?;
        }
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
            .update_expression("SET #ttl = :ttl ADD #n :one")
            .condition_expression("attribute_not_exists(#n) OR #n < :limit")
            .expression_attribute_names("#n", "n")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":one", n(1))
            .expression_attribute_values(":limit", n(rate_limit.messages))
            .expression_attribute_values(":ttl", ttl(now, keys::RATE_LIMIT_RETENTION))
            .send()
            .await;
        match counted {
            Ok(_) => Ok(None),
            Err(error) if refused(&error).is_some() => {
                let end = (window + length) * 1000;
                let wait = u64::try_from(end - now.as_millisecond()).unwrap_or(1);
                Ok(Some(Duration::from_millis(wait.max(1))))
            }
            Err(error) => Err(failed(operation, &error)),
        }
    }
}

/// Returns whether a message has no final status yet.
fn is_open(item: &Item) -> bool {
    let status = text(item, "status").and_then(Status::from_name);
    matches!(status, Some(Status::Queued | Status::Sending))
}

fn attempt(item: &Item) -> Option<u32> {
    number(item, "attempt")?.try_into().ok()
}

impl Repository {
    /// Releases a claim, or hands the message over; returns `false` if the claim is no longer ours.
    async fn release_claim(
        &self,
        operation: &'static str,
        message: &Message,
        token: &str,
        transitions: &[Step],
        counted: bool,
        to: Option<&HandedOver>,
    ) -> PortResult<bool> {
        let mut set =
            "SET #status = :queued, #rank = :rank, history = list_append(history, :steps)"
                .to_owned();
        if to.is_some() {
            set.push_str(", generation = :generation, handed_over = :to");
        }
        if !counted {
            set.push_str(", attempt = attempt - :one");
        }
        set.push_str(" REMOVE #token, lease_until, claimed_at");
        let mut update = self
            .table
            .update(&keys::message(&message.tenant, message.id))
            .update_expression(set)
            .condition_expression("#status = :sending AND #token = :token")
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#rank", "rank")
            .expression_attribute_names("#token", "token")
            .expression_attribute_values(":queued", s(Status::Queued.as_str()))
            .expression_attribute_values(":sending", s(Status::Sending.as_str()))
            .expression_attribute_values(":rank", n(Status::Queued.rank()))
            .expression_attribute_values(":steps", steps(operation, transitions)?)
            .expression_attribute_values(":token", s(token));
        if let Some(to) = to {
            update = update
                .expression_attribute_values(":generation", n(to.failover.generation))
                .expression_attribute_values(":to", json(operation, to)?);
        }
        if !counted {
            update = update.expression_attribute_values(":one", n(1));
        }
        match update.send().await {
            Ok(_) => Ok(true),
            Err(error) if refused(&error).is_some() => Ok(false),
            Err(error) => Err(failed(operation, &error)),
        }
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
        let status = transitions.last().map_or(Status::Unknown, |step| step.status);
        let transitions = steps(operation, transitions)?;
        let settled = self
            .settle_update(&key, token, transitions.clone(), provider_message_id)
            .update_expression(settle_expression(
                "#status = :status, #rank = :rank, ",
                provider_message_id,
            ))
            .condition_expression(if failpoint::is_active(Failpoint::ReceiptOverwrittenBySettle) {
                "#token = :token"
            } else {
                "#token = :token AND #rank < :rank"
            })
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#rank", "rank")
            .expression_attribute_values(":status", s(status.as_str()))
            .expression_attribute_values(":rank", n(status.rank()))
            .send()
            .await;
        let answer = match settled {
            Ok(answer) => answer,
            Err(error) => {
                if refused(&error).is_none() {
                    return Err(failed(operation, &error));
                }
                // A receipt has already advanced the status: keep the status, and write the history
                // and the provider message id.
                let updated = self
                    .settle_update(&key, token, transitions, provider_message_id)
                    .update_expression(settle_expression("", provider_message_id))
                    .condition_expression("#token = :token")
                    .send()
                    .await;
                match updated {
                    Ok(answer) => answer,
                    Err(error) if refused(&error).is_some() => return Ok(None),
                    Err(error) => return Err(failed(operation, &error)),
                }
            }
        };
        let item = answer.attributes.ok_or_else(|| corrupt(operation, "attributes"))?;
        read_message(operation, &item).map(Some)
    }

    fn settle_update(
        &self,
        key: &Key,
        token: &str,
        transitions: AttributeValue,
        provider_message_id: Option<&str>,
    ) -> UpdateItemFluentBuilder {
        let update = self
            .table
            .update(key)
            .expression_attribute_names("#token", "token")
            .expression_attribute_values(":token", s(token))
            .expression_attribute_values(":steps", transitions)
            .return_values(ReturnValue::AllNew);
        match provider_message_id {
            Some(provider_message_id) => {
                update.expression_attribute_values(":provider_message_id", s(provider_message_id))
            }
            None => update,
        }
    }
}

fn settle_expression(state: &str, provider_message_id: Option<&str>) -> String {
    let id_update = match provider_message_id {
        Some(_) => "provider_message_id = :provider_message_id, ",
        None => "",
    };
    format!(
        "SET {state}{id_update}history = list_append(history, :steps) \
         REMOVE #token, lease_until, claimed_at"
    )
}
