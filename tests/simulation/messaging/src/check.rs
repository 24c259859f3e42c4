//! Invariants of messages, conversations, automations and events, and their checks.

#![expect(clippy::indexing_slicing, reason = "indexing a JSON value returns null if absent")]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use http::Request;
use serde_json::Value;
use simulation::deployment::BUCKET;
use simulation::monitor::{Arrival, Invariant, Monitor, partitions};
use testkit::cloud::Cloud;
use testkit::cloud::dynamo::{Attribute, Item};

use crate::fixtures::{Account, SHOP_PROVIDER, Shop};
use crate::{EVENTS_TABLE, MESSAGING_TABLE};

/// The invariants of messaging.
pub const INVARIANTS: [Invariant; 17] = [
    Invariant::new("accepted-once", "every webhook with a 2xx response took effect exactly once"),
    Invariant::new(
        "no-phantom-messages",
        "every message was sent, and belongs to the right tenant",
    ),
    Invariant::new(
        "recorded",
        "every accepted event is in the table exactly once, under its tenant",
    ),
    Invariant::new("archived", "the raw event of every accepted webhook can be replayed"),
    Invariant::new("sent-once", "at most once: the provider accepted no message twice"),
    Invariant::new(
        "sent-at-all",
        "at least once: the provider accepted every message that did not fail",
    ),
    Invariant::new(
        "fate-agrees",
        "the stored status agrees with the provider's log, or is unknown",
    ),
    Invariant::new("fate-known", "every accepted message has a final status"),
    Invariant::new("never-down", "no status moved backward"),
    Invariant::new("order-in", "a conversation lists inbound messages in the order of acceptance"),
    Invariant::new("order-out", "a conversation's messages are sent in the order of acceptance"),
    Invariant::new(
        "one-conversation",
        "one conversation for each contact and channel, and it is up to date",
    ),
    Invariant::new("idempotent", "one message for each idempotency key"),
    Invariant::new(
        "notified",
        "every automation was notified of each inbound message and final status with one id",
    ),
    Invariant::new("forged", "forged webhooks left no trace"),
    Invariant::new("claim-first", "the claim was stored before the message was sent"),
    Invariant::new("media", "every file was stored, or its failure is recorded"),
];

/// Checks a change of a message's rank.
pub(crate) fn check_rank(
    monitor: &mut Monitor,
    who: &str,
    pk: &str,
    before: Option<i64>,
    after: Option<i64>,
) {
    let (Some(before), Some(after)) = (before, after) else { return };
    // A claim may be released until the message is sent.
    let fine = after >= before || before <= 10;
    monitor.check("never-down", fine, || format!("{who}: {pk} moved from {before} to {after}"));
}

/// Checks that the claim of a message is stored when it is sent to a provider.
pub(crate) fn check_claimed(
    monitor: &mut Monitor,
    who: &str,
    cloud: &Cloud,
    request: &Request<Bytes>,
) {
    if !who.starts_with("sender-") {
        return;
    }
    let Ok(body) = serde_json::from_slice::<Value>(request.body()) else { return };
    let Some(text) = body["text"]["body"].as_str().or_else(|| body["text"].as_str()) else {
        return;
    };
    let mut ranks = messages(cloud).filter(|message| message.text() == Some(text));
    let claimed = ranks.any(|message| message.rank >= 10);
    monitor.check("claim-first", claimed, || {
        format!("{who} sends {text:?}, but its claim is not in the table")
    });
}

/// Returns the partition keys of messages that a request names.
pub(crate) fn messages_in(body: &Value) -> Vec<String> {
    let mut found = partitions(body);
    found.retain(|pk| pk.starts_with("T#") && pk.contains("#MSG#"));
    found
}

/// Returns the rank of a message's status, if the message exists.
pub(crate) fn rank(cloud: &Cloud, pk: &str) -> Option<i64> {
    cloud.dynamo.item(MESSAGING_TABLE, pk, "MSG")?.get("rank")?.number()
}

/// A message in the table.
#[derive(Clone, Debug)]
pub struct StoredMessage {
    /// Tenant.
    pub tenant: String,
    /// Message id.
    pub id: String,
    /// Name of its status.
    pub status: String,
    /// Rank of its status.
    pub rank: i64,
    /// Sort key in its conversation's list.
    pub sort_key: String,
    /// Status of its media.
    pub media: Option<String>,
    /// Whether its history has the status `unknown`.
    pub was_unknown: bool,
    /// Whether its last attempt was refused, or it expired, after one that may have sent it.
    pub was_refused_in_doubt: bool,
    /// Its immutable fields.
    pub doc: Value,
}

impl StoredMessage {
    /// Its text, if it has one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.doc["text"].as_str()
    }

    fn is_inbound(&self) -> bool {
        self.doc["direction"] == "inbound"
    }

    fn conversation(&self) -> &str {
        self.doc["conversation"].as_str().unwrap_or_default()
    }
}

/// Returns all messages in the table.
pub fn messages(cloud: &Cloud) -> impl Iterator<Item = StoredMessage> + '_ {
    cloud.dynamo.items(MESSAGING_TABLE).filter_map(|item| {
        let pk = text(item, "pk")?;
        let (tenant, id) = pk.strip_prefix("T#")?.split_once("#MSG#")?;
        Some(StoredMessage {
            tenant: tenant.to_owned(),
            id: id.to_owned(),
            status: text(item, "status")?.to_owned(),
            rank: item.get("rank")?.number()?,
            sort_key: text(item, "gsi1sk").unwrap_or_default().to_owned(),
            media: text(item, "media_state").map(ToOwned::to_owned),
            was_unknown: item
                .get("history")
                .and_then(Attribute::list)
                .into_iter()
                .flatten()
                .any(|step| step.text().is_some_and(|step| step.contains("\"unknown\""))),
            was_refused_in_doubt: item
                .get("history")
                .and_then(Attribute::list)
                .and_then(|steps| steps.last()?.text())
                .is_some_and(|step| step.contains("an earlier attempt may have sent the message")),
            doc: serde_json::from_str(text(item, "doc")?).ok()?,
        })
    })
}

/// Returns the tenant, the item and the record of an event, or `None` for other items.
fn recorded(item: &Item) -> Option<(&str, &Item, Value)> {
    let tenant = text(item, "pk")?.strip_prefix("T#")?.split('#').next()?;
    let doc = text(item, "doc").filter(|_| text(item, "sk") == Some("EVENT"))?;
    Some((tenant, item, serde_json::from_str(doc).unwrap_or_default()))
}

fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.text()
}

/// A message that a customer wrote.
#[derive(Clone, Debug)]
pub struct CustomerMessage {
    /// Index of the account.
    pub account: usize,
    /// Address of the customer.
    pub from: String,
    /// Text, unique in a run.
    pub text: String,
    /// Whether it has a file instead of a text.
    pub file: bool,
}

/// A message that an API client asked to send.
#[derive(Clone, Debug)]
pub struct SendRequest {
    /// Index of the account.
    pub account: usize,
    /// Address of the recipient.
    pub to: String,
    /// Text, unique in a run.
    pub text: String,
    /// Message ids in the responses.
    pub ids: BTreeSet<String>,
    /// Number of the first accepted request, in the order of acceptance.
    pub accepted: Option<u64>,
}

/// An event that the shop sent.
#[derive(Clone, Debug)]
pub struct SentEvent {
    /// The provider's event id.
    pub id: String,
    /// Whether it was forged.
    pub forged: bool,
}

/// The final state of a run, for the checks.
#[derive(Debug)]
pub struct FinalState<'a> {
    /// The accounts.
    pub accounts: &'a [Account],
    /// Ids of messages from before the run.
    pub before: &'a BTreeSet<String>,
    /// The cloud.
    pub cloud: &'a Cloud,
    /// Messages that customers wrote.
    pub written: &'a [CustomerMessage],
    /// Messages that API clients asked to send.
    pub requested: &'a [SendRequest],
    /// Texts in forged webhooks.
    pub forged: &'a [String],
    /// The shop.
    pub shop: &'a Shop,
    /// Events that the shop sent.
    pub events: &'a [SentEvent],
    /// Texts sent to an unclaimed number.
    pub unclaimed: &'a [String],
    /// The log of accepted messages of each account's provider.
    pub accepted: &'a [Vec<Value>],
    /// The log of notifications of each tenant's automation.
    pub notifications: &'a BTreeMap<String, Vec<Value>>,
}

impl FinalState<'_> {
    /// Checks all invariants.
    pub fn check(&self, monitor: &mut Monitor) {
        let mut stored: Vec<StoredMessage> = messages(self.cloud).collect();
        stored.retain(|message| !self.before.contains(&message.id));
        self.inbound(monitor, &stored);
        self.order_in(monitor, &stored);
        self.outbound(monitor, &stored);
        self.order_out(monitor, &stored);
        self.conversations(monitor, &stored);
        self.automations(monitor, &stored);
        self.events(monitor);
        self.parked(monitor);
        for text in self.forged {
            let traces = stored.iter().any(|message| message.text() == Some(text));
            monitor.check("forged", !traces, || format!("{text:?} was accepted"));
        }
    }

    fn account(&self, number: usize) -> Option<&Account> {
        self.accounts.get(number)
    }

    /// Whether an inbound message contains `text`: in the table, or in its file if it is too large
    /// for the table.
    fn contains_text(&self, message: &StoredMessage, text: &str) -> bool {
        if !message.is_inbound() {
            return false;
        }
        let own = [&message.doc["text"], &message.doc["media"]["caption"], &message.doc["caption"]];
        if own.iter().any(|own| own.as_str().is_some_and(|own| own.contains(text))) {
            return true;
        }
        let key = format!("media/{}/{}", message.tenant, message.id);
        let mut objects = self.cloud.s3.objects(BUCKET).filter(|(own, _)| *own == key);
        let file = objects.next().map(|(_, object)| object.bytes.as_slice());
        file.is_some_and(|file| file.windows(text.len()).any(|part| part == text.as_bytes()))
    }

    /// Checks the messages that customers wrote.
    fn inbound(&self, monitor: &mut Monitor, stored: &[StoredMessage]) {
        let archive: Vec<(&str, String)> = self
            .cloud
            .s3
            .objects(BUCKET)
            .filter(|(key, _)| key.starts_with("archive/"))
            .map(|(key, object)| (key, String::from_utf8_lossy(&object.bytes).into_owned()))
            .collect();
        for written in self.written {
            let Some(account) = self.account(written.account) else { continue };
            let text = &written.text;
            // A file is identified by its caption, and a long text by its beginning.
            let found: Vec<&StoredMessage> =
                stored.iter().filter(|message| self.contains_text(message, text)).collect();
            monitor.check("accepted-once", found.len() == 1, || {
                format!("{text:?} is in the table {} times", found.len())
            });
            let same_tenant = found.iter().all(|message| message.tenant == account.tenant);
            monitor.check("no-phantom-messages", same_tenant, || {
                format!("{text:?} is another tenant's")
            });
            let Ok(provider) = account.provider.parse::<domain::Provider>() else { continue };
            let folder = format!("archive/{}/{provider}/", account.tenant);
            let kept = archive
                .iter()
                .any(|(key, lines)| key.starts_with(&folder) && lines.contains(text.as_str()));
            monitor.check("archived", kept, || format!("{text:?} is not in {folder}"));
            if written.file {
                let settled = found
                    .iter()
                    .all(|message| matches!(message.media.as_deref(), Some("stored" | "failed")));
                monitor.check("media", settled, || format!("the file of {text:?} is pending"));
            }
        }
        for message in stored.iter().filter(|message| message.is_inbound()) {
            let known =
                self.written.iter().any(|written| self.contains_text(message, &written.text));
            monitor.check("no-phantom-messages", known, || {
                format!("no customer wrote {} of {}", message.id, message.tenant)
            });
        }
    }

    /// Checks that messages to unclaimed numbers are parked for the operator, once and complete.
    fn parked(&self, monitor: &mut Monitor) {
        let events = || self.cloud.dynamo.items(EVENTS_TABLE).filter_map(recorded);
        for stray in self.unclaimed {
            let says = |item: &Item| text(item, "body").is_some_and(|body| body.contains(stray));
            let found: Vec<_> = events().filter(|(_, item, _)| says(item)).collect();
            let right = matches!(&found[..], [("platform", _, doc)] if doc["state"] == "parked");
            monitor.check("recorded", right, || {
                format!("{stray:?} is in the table {} times", found.len())
            });
        }
        let parked = events().filter(|(_, _, doc)| doc["state"] == "parked").count();
        monitor.check("no-phantom-messages", parked == self.unclaimed.len(), || {
            format!("{parked} events are parked")
        });
    }

    /// Checks the events that the shop sent.
    fn events(&self, monitor: &mut Monitor) {
        let mut found: BTreeMap<String, Vec<(&str, &Item)>> = BTreeMap::new();
        for (tenant, item, doc) in self.cloud.dynamo.items(EVENTS_TABLE).filter_map(recorded) {
            if doc["provider"] != SHOP_PROVIDER.as_str() {
                continue;
            }
            let id = doc["provider_event_id"].as_str().unwrap_or_default().to_owned();
            found.entry(id).or_default().push((tenant, item));
        }
        let folder = format!("archive/{}/{SHOP_PROVIDER}/", self.shop.tenant);
        let list = format!("T#{}#EVENTS", self.shop.tenant);
        for sent in self.events.iter().filter(|sent| !sent.forged) {
            let id = &sent.id;
            let records = found.get(id).map_or(&[][..], Vec::as_slice);
            monitor.check("recorded", records.len() == 1, || {
                format!("the event {id} is in the table {} times", records.len())
            });
            for (tenant, item) in records {
                let listed = text(item, "gsi1pk").and_then(|key| key.strip_prefix(&list));
                let listed = listed.is_some_and(|shard| shard.is_empty() || shard.starts_with('#'));
                let right = *tenant == self.shop.tenant && listed;
                monitor.check("recorded", right, || format!("the event {id} belongs to {tenant}"));
                let object = |own: &str| self.cloud.s3.objects(BUCKET).any(|(key, _)| key == own);
                let whole =
                    text(item, "body").is_some() || text(item, "object").is_some_and(object);
                monitor.check("recorded", whole, || format!("the event {id} has no body"));
            }
            let kept = self.cloud.s3.objects(BUCKET).any(|(key, object)| {
                key.starts_with(&folder) && String::from_utf8_lossy(&object.bytes).contains(id)
            });
            monitor.check("archived", kept, || format!("the event {id} is not in {folder}"));
        }
        for id in found.keys() {
            let sent = self.events.iter().find(|sent| sent.id == *id);
            monitor.check("no-phantom-messages", sent.is_some(), || format!("no shop sent {id}"));
            let forged = sent.is_some_and(|sent| sent.forged);
            monitor.check("forged", !forged, || format!("the event {id} was accepted"));
        }
    }

    /// Checks that a message comes first if its webhook was answered before the other was sent.
    fn order_in(&self, monitor: &mut Monitor, stored: &[StoredMessage]) {
        let sort_key = |text: &str| {
            let found = stored.iter().find(|message| message.text() == Some(text));
            found.map(|message| (message.conversation().to_owned(), message.sort_key.clone()))
        };
        // The text, its first arrival, its first acceptance, and its position.
        let mut seen: Vec<(&str, i64, i64, (String, String))> = Vec::new();
        for written in self.written.iter().filter(|written| !written.file) {
            let needle = format!("\"{}\"", written.text);
            let contains = |arrival: &&Arrival| {
                arrival.body.windows(needle.len()).any(|part| part == needle.as_bytes())
            };
            let arrivals: Vec<_> = monitor.arrivals.iter().filter(contains).collect();
            let arrived = arrivals.iter().map(|arrival| arrival.at_us).min();
            let accepted = arrivals.iter().filter(|arrival| (200..300).contains(&arrival.status));
            let accepted = accepted.filter_map(|arrival| arrival.answered_us).min();
            if let (Some(arrived), Some(accepted), Some(sort_key)) =
                (arrived, accepted, sort_key(&written.text))
            {
                seen.push((&written.text, arrived, accepted, sort_key));
            }
        }
        for (first, _, accepted, (conversation, sort_key)) in &seen {
            for (second, arrived, _, (other_conversation, other_sort_key)) in &seen {
                if conversation == other_conversation && accepted < arrived {
                    monitor.check("order-in", sort_key < other_sort_key, || {
                        format!(
                            "{first:?} was accepted before {second:?} arrived, but listed after it"
                        )
                    });
                }
            }
        }
    }

    /// Returns the entries of a text in the log of the account's provider.
    fn accepted_entries(&self, account: usize, text: &str) -> Vec<&Value> {
        let entries = self.accepted.get(account).into_iter().flatten();
        entries
            .filter(|entry| {
                let body = &entry["body"];
                let own = body["text"]["body"].as_str().or_else(|| body["text"].as_str());
                own == Some(text)
            })
            .collect()
    }

    /// Checks the messages of API clients and automations.
    fn outbound(&self, monitor: &mut Monitor, stored: &[StoredMessage]) {
        for requested in self.requested {
            let (text, ids) = (&requested.text, &requested.ids);
            monitor.check("idempotent", ids.len() <= 1, || format!("{text:?} has the ids {ids:?}"));
            let found = stored.iter().filter(|message| message.text() == Some(text));
            let found = found.count();
            let right = found == ids.len();
            monitor.check("fate-known", right, || {
                format!("{text:?} was accepted as {ids:?}, and is in the table {found} times")
            });
        }
        for message in stored.iter().filter(|message| !message.is_inbound()) {
            let Some(text) = message.text() else { continue };
            // Replies to files are not unique, so they cannot be matched.
            if text.starts_with("Echo: [") {
                continue;
            }
            let same = stored.iter().filter(|other| other.text() == Some(text)).count();
            monitor.check("idempotent", same == 1, || format!("{text:?} is {same} messages"));
            let integration = message.doc["integration"].as_str().unwrap_or_default();
            let number =
                self.accounts.iter().position(|account| account.integration == integration);
            let Some((number, account)) = number.and_then(|n| Some((n, self.account(n)?))) else {
                monitor.record_violation("fate-agrees", format!("{text:?} has no account"));
                continue;
            };
            Self::check_status(
                monitor,
                message,
                text,
                account,
                &self.accepted_entries(number, text),
            );
        }
    }

    fn check_status(
        monitor: &mut Monitor,
        message: &StoredMessage,
        text: &str,
        account: &Account,
        entries: &[&Value],
    ) {
        let status = message.status.as_str();
        let open = matches!(status, "queued" | "sending");
        monitor.check("fate-known", !open, || format!("{text:?} is {status} at the end"));
        let count = entries.len();
        if account.at_least_once {
            let refused = status == "unknown" && message.was_refused_in_doubt;
            let fine = count >= 1 || matches!(status, "failed" | "expired") || refused;
            monitor.check("sent-at-all", fine, || {
                format!("{text:?} is {status}, but the provider never accepted it")
            });
        } else {
            monitor
                .check("sent-once", count <= 1, || format!("{text:?} was accepted {count} times"));
        }
        let failed_later = entries.iter().any(|entry| !entry["failed_code"].is_null());
        let agrees = match status {
            "accepted" | "sent" | "delivered" | "read" => count >= 1,
            // It was not accepted, or the provider reported a failure later.
            "failed" | "expired" => count == 0 || failed_later || account.at_least_once,
            _ => true,
        };
        monitor.check("fate-agrees", agrees, || {
            format!("{text:?} is {status}; the provider accepted it {count} times")
        });
        // Checks the receipts that the hub acknowledged.
        for entry in entries {
            for receipt in entry["statuses"].as_array().into_iter().flatten() {
                let receipt = receipt.as_str().unwrap_or_default();
                let rank = rank_of(receipt);
                monitor.check("fate-agrees", message.rank >= rank, || {
                    format!("{text:?} is {status}; the hub acknowledged the receipt {receipt}")
                });
            }
        }
    }

    /// Checks that a client's messages to one recipient are sent in the order of acceptance.
    /// Messages that were unknown for a while are skipped, because their time of sending is
    /// unknown.
    fn order_out(&self, monitor: &mut Monitor, stored: &[StoredMessage]) {
        let unknown: BTreeSet<&str> = stored
            .iter()
            .filter(|message| message.was_unknown)
            .filter_map(StoredMessage::text)
            .collect();
        let mut conversations: BTreeMap<(usize, &str), Vec<&SendRequest>> = BTreeMap::new();
        let known = |requested: &&SendRequest| {
            requested.accepted.is_some() && !unknown.contains(requested.text.as_str())
        };
        for requested in self.requested.iter().filter(known) {
            conversations.entry((requested.account, &requested.to)).or_default().push(requested);
        }
        for ((account, _), mut requested) in conversations {
            requested.sort_by_key(|requested| requested.accepted);
            let sent = requested.iter().filter_map(|requested| {
                let entries = self.accepted_entries(account, &requested.text);
                let first = entries.iter().filter_map(|entry| entry["seq"].as_u64()).min()?;
                Some((first, requested.text.as_str()))
            });
            let sent: Vec<(u64, &str)> = sent.collect();
            for pair in sent.windows(2) {
                if let [(first, one), (second, other)] = pair {
                    monitor.check("order-out", first < second, || {
                        format!("{one:?} was accepted before {other:?} and sent after it")
                    });
                }
            }
        }
    }

    fn conversations(&self, monitor: &mut Monitor, stored: &[StoredMessage]) {
        let mut conversations: BTreeMap<(String, String), Vec<&Item>> = BTreeMap::new();
        for item in self.cloud.dynamo.items(MESSAGING_TABLE) {
            let (Some(pk), Some("CONV")) = (text(item, "pk"), text(item, "sk")) else { continue };
            let doc: Value = text(item, "doc")
                .and_then(|doc| serde_json::from_str(doc).ok())
                .unwrap_or_default();
            let tenant = pk.strip_prefix("T#").and_then(|rest| rest.split('#').next());
            let account = doc["account"].as_str().unwrap_or_default();
            let address = doc["contact"]["address"].as_str().unwrap_or_default();
            let who = (tenant.unwrap_or_default().to_owned(), format!("{account}/{address}"));
            conversations.entry(who).or_default().push(item);
        }
        for (who, items) in &conversations {
            monitor.check("one-conversation", items.len() == 1, || {
                format!("{who:?} has {} conversations", items.len())
            });
        }
        for message in stored {
            let pk = format!("T#{}#C#{}", message.tenant, message.conversation());
            let conversation = self.cloud.dynamo.item(MESSAGING_TABLE, &pk, "CONV");
            monitor.check("one-conversation", conversation.is_some(), || {
                format!("{} is in no conversation", message.id)
            });
            let (Some(conversation), true) = (conversation, message.is_inbound()) else { continue };
            let occurred: Option<jiff::Timestamp> =
                message.doc["occurred_at"].as_str().and_then(|at| at.parse().ok());
            let latest =
                conversation.get("last_inbound_at").and_then(Attribute::number).unwrap_or(0);
            let fresh = occurred.is_none_or(|occurred| occurred.as_millisecond() <= latest);
            monitor.check("one-conversation", fresh, || {
                format!("the conversation of {} is older than the message", message.id)
            });
        }
    }

    /// Checks that the automations were notified of inbound messages and final statuses.
    fn automations(&self, monitor: &mut Monitor, stored: &[StoredMessage]) {
        for message in stored {
            let log = self.notifications.get(&message.tenant).map_or(&[][..], Vec::as_slice);
            let about = |kind: &str, status: Option<&str>| -> BTreeSet<String> {
                let matching = |notification: &&Value| {
                    let body = &notification["body"];
                    let about = &body["data"]["message"];
                    notification["answer"]
                        .as_u64()
                        .is_some_and(|answer| (200..300).contains(&answer))
                        && body["type"] == kind
                        && about["id"] == message.id.as_str()
                        && status.is_none_or(|status| about["status"] == status)
                };
                let ids = log.iter().filter(matching).filter_map(|n| n["webhook_id"].as_str());
                ids.map(ToOwned::to_owned).collect()
            };
            let ids = if message.is_inbound() {
                about("message.received", None)
            } else if matches!(
                message.status.as_str(),
                "unknown" | "failed" | "expired" | "sent" | "delivered" | "read"
            ) {
                about("message.status", Some(&message.status))
            } else {
                continue;
            };
            monitor.check("notified", ids.len() == 1, || {
                format!(
                    "{} ({}) has notifications with the ids {ids:?}",
                    message.id, message.status
                )
            });
        }
    }
}

fn rank_of(status: &str) -> i64 {
    match status {
        "sent" => 40,
        "failed" => 50,
        "delivered" => 60,
        "read" => 70,
        _ => 0,
    }
}
