//! What must hold of messages, conversations, automations and events.

#![expect(clippy::indexing_slicing, reason = "what is not in a JSON value is null")]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use http::Request;
use serde_json::Value;
use simulation::deployment::{BUCKET, TABLE};
use simulation::watch::{Arrival, Invariant, Watch, partitions};
use testkit::cloud::Cloud;
use testkit::cloud::dynamo::{Attribute, Item};

use crate::fixtures::{Account, SHOPS, Shop};

/// Everything that must hold, by name, with what it says.
pub const INVARIANTS: [Invariant; 17] = [
    Invariant::new("accepted-once", "what was answered 2xx took effect exactly once"),
    Invariant::new("from-somebody", "no message came from nowhere, or to another tenant"),
    Invariant::new(
        "recorded",
        "every accepted event is in the table exactly once, under its tenant",
    ),
    Invariant::new("archived", "the raw event of every accepted webhook can be replayed"),
    Invariant::new("sent-once", "at most once: the provider took no message twice"),
    Invariant::new("sent-at-all", "at least once: what did not fail was taken"),
    Invariant::new(
        "fate-agrees",
        "the recorded fate agrees with the provider's own log, or is unknown",
    ),
    Invariant::new("fate-known", "every message that was promised has a fate"),
    Invariant::new("never-down", "no status went down"),
    Invariant::new("order-in", "a conversation lists what came in, in the order it was accepted"),
    Invariant::new("order-out", "a conversation's messages leave in the order they were accepted"),
    Invariant::new(
        "one-conversation",
        "one conversation a contact and channel, and it is up to date",
    ),
    Invariant::new("idempotent", "one idempotency key, one message"),
    Invariant::new(
        "told",
        "every automation was told of what came in and of every bad end, by one id",
    ),
    Invariant::new("forged", "what no provider signed left no trace"),
    Invariant::new("claim-first", "the claim was durable before the request left"),
    Invariant::new("media", "every file was fetched, or says why not"),
];

/// A message's rank was one, and is now the other.
pub(crate) fn moved(
    watch: &mut Watch,
    who: &str,
    pk: &str,
    before: Option<i64>,
    after: Option<i64>,
) {
    let (Some(before), Some(after)) = (before, after) else { return };
    // Until the request has left, a claim may be given back.
    let fine = after >= before || before <= 10;
    watch.holds("never-down", fine, || format!("{who}: {pk} went from {before} to {after}"));
}

/// A request leaves for somebody outside: is the claim durable?
pub(crate) fn asked_outside(watch: &mut Watch, who: &str, cloud: &Cloud, request: &Request<Bytes>) {
    if !who.starts_with("sender-") {
        return;
    }
    let Ok(body) = serde_json::from_slice::<Value>(request.body()) else { return };
    let Some(text) = body["text"]["body"].as_str().or_else(|| body["text"].as_str()) else {
        return;
    };
    let mut ranks = messages(cloud).filter(|message| message.text() == Some(text));
    let claimed = ranks.any(|message| message.rank >= 10);
    watch.holds("claim-first", claimed, || {
        format!("{who} sends {text:?}, whose claim is not in the table")
    });
}

/// The messages a request names, by partition.
pub(crate) fn messages_in(body: &Value) -> Vec<String> {
    let mut found = partitions(body);
    found.retain(|pk| pk.starts_with("T#") && pk.contains("#MSG#"));
    found
}

/// A message's rank, if there is such a message.
pub(crate) fn rank(cloud: &Cloud, pk: &str) -> Option<i64> {
    cloud.dynamo.item(TABLE, pk, "MSG")?.get("rank")?.number()
}

/// A message as the table has it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Whose it is.
    pub tenant: String,
    /// Its id.
    pub id: String,
    /// Its state's name.
    pub status: String,
    /// Its state's rank.
    pub rank: i64,
    /// Where it stands in its conversation's list.
    pub place: String,
    /// How its file stands.
    pub media: Option<String>,
    /// Whether nobody knew for a while if the provider has it.
    pub was_unknown: bool,
    /// What never changes.
    pub doc: Value,
}

impl Stored {
    /// Its text, if it is one.
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

/// Every message in the table.
pub fn messages(cloud: &Cloud) -> impl Iterator<Item = Stored> + '_ {
    cloud.dynamo.items(TABLE).filter_map(|item| {
        let pk = text(item, "pk")?;
        let (tenant, id) = pk.strip_prefix("T#")?.split_once("#MSG#")?;
        Some(Stored {
            tenant: tenant.to_owned(),
            id: id.to_owned(),
            status: text(item, "status")?.to_owned(),
            rank: item.get("rank")?.number()?,
            place: text(item, "gsi1sk").unwrap_or_default().to_owned(),
            media: text(item, "media_state").map(ToOwned::to_owned),
            was_unknown: item
                .get("history")
                .and_then(Attribute::list)
                .into_iter()
                .flatten()
                .any(|step| step.text().is_some_and(|step| step.contains("\"unknown\""))),
            doc: serde_json::from_str(text(item, "doc")?).ok()?,
        })
    })
}

/// An item, if it is an event: its tenant, itself and its record.
fn recorded(item: &Item) -> Option<(&str, &Item, Value)> {
    let tenant = text(item, "pk")?.strip_prefix("T#")?.split('#').next()?;
    let doc = text(item, "doc").filter(|_| text(item, "sk") == Some("EVENT"))?;
    Some((tenant, item, serde_json::from_str(doc).unwrap_or_default()))
}

fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.text()
}

/// What a customer wrote.
#[derive(Clone, Debug)]
pub struct Written {
    /// To which account.
    pub account: usize,
    /// From which address.
    pub from: String,
    /// What: unique in a run.
    pub text: String,
    /// Whether it has a file instead of a text.
    pub file: bool,
}

/// What a caller of the API was promised.
#[derive(Clone, Debug)]
pub struct Promised {
    /// Over which account.
    pub account: usize,
    /// To which address.
    pub to: String,
    /// What: unique in a run.
    pub text: String,
    /// The ids it was answered with.
    pub ids: BTreeSet<String>,
    /// When the request that was answered first was made.
    pub accepted: Option<u64>,
}

/// An event that a shop told of.
#[derive(Clone, Debug)]
pub struct Told {
    /// The provider's id of it.
    pub id: String,
    /// Whether the shop did not say so.
    pub forged: bool,
}

/// What is looked at in the end.
#[derive(Debug)]
pub struct End<'a> {
    /// The accounts.
    pub accounts: &'a [Account],
    /// Messages that were there before the run.
    pub before: &'a BTreeSet<String>,
    /// The cloud.
    pub cloud: &'a Cloud,
    /// What customers wrote.
    pub written: &'a [Written],
    /// What callers were promised.
    pub promised: &'a [Promised],
    /// Texts in requests that nobody signed.
    pub forged: &'a [String],
    /// The shop.
    pub shop: &'a Shop,
    /// What it told of.
    pub events: &'a [Told],
    /// What was written to a number that nobody has.
    pub strays: &'a [String],
    /// What each account's provider accepted, as its own log has it.
    pub accepted: &'a [Vec<Value>],
    /// What each tenant's automation was told.
    pub told: &'a BTreeMap<String, Vec<Value>>,
}

impl End<'_> {
    /// Looks at everything.
    pub fn check(&self, watch: &mut Watch) {
        let mut stored: Vec<Stored> = messages(self.cloud).collect();
        stored.retain(|message| !self.before.contains(&message.id));
        self.inbound(watch, &stored);
        self.order_in(watch, &stored);
        self.outbound(watch, &stored);
        self.order_out(watch, &stored);
        self.conversations(watch, &stored);
        self.automations(watch, &stored);
        self.events(watch);
        self.parked(watch);
        for text in self.forged {
            let traces = stored.iter().any(|message| message.text() == Some(text));
            watch.holds("forged", !traces, || format!("{text:?} was taken in"));
        }
    }

    fn account(&self, number: usize) -> Option<&Account> {
        self.accounts.get(number)
    }

    /// Whether a message came in and says `text`: in the table, or in its file where it is too
    /// large for the table.
    fn says(&self, message: &Stored, text: &str) -> bool {
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

    /// What customers wrote, and what became of it.
    fn inbound(&self, watch: &mut Watch, stored: &[Stored]) {
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
            // A file's caption, and a long text's beginning, are how it is known again.
            let found: Vec<&Stored> =
                stored.iter().filter(|message| self.says(message, text)).collect();
            watch.holds("accepted-once", found.len() == 1, || {
                format!("{text:?} is in the table {} times", found.len())
            });
            let theirs = found.iter().all(|message| message.tenant == account.tenant);
            watch.holds("from-somebody", theirs, || format!("{text:?} is another tenant's"));
            let folder = format!("archive/{}/{}/", account.tenant, account.provider);
            let kept = archive
                .iter()
                .any(|(key, lines)| key.starts_with(&folder) && lines.contains(text.as_str()));
            watch.holds("archived", kept, || format!("{text:?} is not in {folder}"));
            if written.file {
                let settled = found
                    .iter()
                    .all(|message| matches!(message.media.as_deref(), Some("stored" | "failed")));
                watch.holds("media", settled, || format!("the file of {text:?} is pending"));
            }
        }
        for message in stored.iter().filter(|message| message.is_inbound()) {
            let known = self.written.iter().any(|written| self.says(message, &written.text));
            watch.holds("from-somebody", known, || {
                format!("nobody wrote {} of {}", message.id, message.tenant)
            });
        }
    }

    /// What nobody could be found for: kept by the operator, once and whole.
    fn parked(&self, watch: &mut Watch) {
        let events = || self.cloud.dynamo.items(TABLE).filter_map(recorded);
        for stray in self.strays {
            let says = |item: &Item| text(item, "body").is_some_and(|body| body.contains(stray));
            let found: Vec<_> = events().filter(|(_, item, _)| says(item)).collect();
            let right = matches!(&found[..], [("platform", _, doc)] if doc["state"] == "parked");
            watch.holds("recorded", right, || {
                format!("{stray:?} is in the table {} times", found.len())
            });
        }
        let parked = events().filter(|(_, _, doc)| doc["state"] == "parked").count();
        watch.holds("from-somebody", parked == self.strays.len(), || {
            format!("{parked} events are parked")
        });
    }

    /// What the shop told of, and what became of it.
    fn events(&self, watch: &mut Watch) {
        let mut found: BTreeMap<String, Vec<(&str, &Item)>> = BTreeMap::new();
        for (tenant, item, doc) in self.cloud.dynamo.items(TABLE).filter_map(recorded) {
            if doc["provider"] != SHOPS.as_str() {
                continue;
            }
            let id = doc["provider_event_id"].as_str().unwrap_or_default().to_owned();
            found.entry(id).or_default().push((tenant, item));
        }
        let folder = format!("archive/{}/{SHOPS}/", self.shop.tenant);
        let list = format!("T#{}#EVENTS", self.shop.tenant);
        for told in self.events.iter().filter(|told| !told.forged) {
            let id = &told.id;
            let records = found.get(id).map_or(&[][..], Vec::as_slice);
            watch.holds("recorded", records.len() == 1, || {
                format!("the event {id} is in the table {} times", records.len())
            });
            for (tenant, item) in records {
                let theirs = *tenant == self.shop.tenant && text(item, "gsi1pk") == Some(&list);
                watch.holds("recorded", theirs, || format!("the event {id} is {tenant}'s"));
                let object = |own: &str| self.cloud.s3.objects(BUCKET).any(|(key, _)| key == own);
                let whole =
                    text(item, "body").is_some() || text(item, "object").is_some_and(object);
                watch.holds("recorded", whole, || format!("the event {id} has no body"));
            }
            let kept = self.cloud.s3.objects(BUCKET).any(|(key, object)| {
                key.starts_with(&folder) && String::from_utf8_lossy(&object.bytes).contains(id)
            });
            watch.holds("archived", kept, || format!("the event {id} is not in {folder}"));
        }
        for id in found.keys() {
            let told = self.events.iter().find(|told| told.id == *id);
            watch.holds("from-somebody", told.is_some(), || format!("nobody told of {id}"));
            let forged = told.is_some_and(|told| told.forged);
            watch.holds("forged", !forged, || format!("the event {id} was taken in"));
        }
    }

    /// If one webhook was answered before another was sent, its message comes first.
    fn order_in(&self, watch: &mut Watch, stored: &[Stored]) {
        let place = |text: &str| {
            let found = stored.iter().find(|message| message.text() == Some(text));
            found.map(|message| (message.conversation().to_owned(), message.place.clone()))
        };
        // When a text was accepted first, and when it arrived first.
        let mut seen: Vec<(&str, i64, i64, (String, String))> = Vec::new();
        for written in self.written.iter().filter(|written| !written.file) {
            let needle = format!("\"{}\"", written.text);
            let carries = |arrival: &&Arrival| {
                arrival.body.windows(needle.len()).any(|part| part == needle.as_bytes())
            };
            let arrivals: Vec<_> = watch.arrivals.iter().filter(carries).collect();
            let arrived = arrivals.iter().map(|arrival| arrival.at_us).min();
            let accepted = arrivals.iter().filter(|arrival| (200..300).contains(&arrival.status));
            let accepted = accepted.filter_map(|arrival| arrival.answered_us).min();
            if let (Some(arrived), Some(accepted), Some(place)) =
                (arrived, accepted, place(&written.text))
            {
                seen.push((&written.text, arrived, accepted, place));
            }
        }
        for (first, _, accepted, (talk, place)) in &seen {
            for (second, arrived, _, (other_talk, other_place)) in &seen {
                if talk == other_talk && accepted < arrived {
                    watch.holds("order-in", place < other_place, || {
                        format!(
                            "{first:?} was accepted before {second:?} came, and stands after it"
                        )
                    });
                }
            }
        }
    }

    /// How often the account's provider took a text, and the entries.
    fn taken(&self, account: usize, text: &str) -> Vec<&Value> {
        let entries = self.accepted.get(account).into_iter().flatten();
        entries
            .filter(|entry| {
                let body = &entry["body"];
                let own = body["text"]["body"].as_str().or_else(|| body["text"].as_str());
                own == Some(text)
            })
            .collect()
    }

    /// What callers were promised, and what automations answered.
    fn outbound(&self, watch: &mut Watch, stored: &[Stored]) {
        for promised in self.promised {
            let (text, ids) = (&promised.text, &promised.ids);
            watch.holds("idempotent", ids.len() <= 1, || format!("{text:?} has the ids {ids:?}"));
            let found = stored.iter().filter(|message| message.text() == Some(text));
            let found = found.count();
            let right = found == ids.len();
            watch.holds("fate-known", right, || {
                format!("{text:?} was promised as {ids:?}, and is in the table {found} times")
            });
        }
        for message in stored.iter().filter(|message| !message.is_inbound()) {
            let Some(text) = message.text() else { continue };
            // What answers a file is not unique, so nothing can be told by it.
            if text.starts_with("Echo: [") {
                continue;
            }
            let same = stored.iter().filter(|other| other.text() == Some(text)).count();
            watch.holds("idempotent", same == 1, || format!("{text:?} is {same} messages"));
            let integration = message.doc["integration"].as_str().unwrap_or_default();
            let number =
                self.accounts.iter().position(|account| account.integration == integration);
            let Some((number, account)) = number.and_then(|n| Some((n, self.account(n)?))) else {
                watch.violated("fate-agrees", format!("{text:?} has no account"));
                continue;
            };
            Self::fate(watch, message, text, account, &self.taken(number, text));
        }
    }

    fn fate(watch: &mut Watch, message: &Stored, text: &str, account: &Account, taken: &[&Value]) {
        let status = message.status.as_str();
        let open = matches!(status, "queued" | "sending");
        watch.holds("fate-known", !open, || format!("{text:?} is {status} in the end"));
        let count = taken.len();
        if account.at_least_once {
            let fine = count >= 1 || matches!(status, "failed" | "expired");
            watch.holds("sent-at-all", fine, || format!("{text:?} is {status}; nobody has it"));
        } else {
            watch.holds("sent-once", count <= 1, || format!("{text:?} was taken {count} times"));
        }
        let failed_later = taken.iter().any(|entry| !entry["failed_code"].is_null());
        let agrees = match status {
            "accepted" | "sent" | "delivered" | "read" => count >= 1,
            // Nothing of it is there, or the provider itself said later that it failed.
            "failed" | "expired" => count == 0 || failed_later || account.at_least_once,
            _ => true,
        };
        watch.holds("fate-agrees", agrees, || {
            format!("{text:?} is {status}; the provider took it {count} times")
        });
        // How far the provider said it came, and was heard.
        for entry in taken {
            for heard in entry["statuses"].as_array().into_iter().flatten() {
                let heard = heard.as_str().unwrap_or_default();
                let rank = rank_of(heard);
                watch.holds("fate-agrees", message.rank >= rank, || {
                    format!("{text:?} is {status}; the provider said {heard}, and was heard")
                });
            }
        }
    }

    /// What one caller was promised for one person leaves in the order of the promises. When
    /// something left of which that was not known for a while, nobody can say.
    fn order_out(&self, watch: &mut Watch, stored: &[Stored]) {
        let unknown: BTreeSet<&str> =
            stored.iter().filter(|message| message.was_unknown).filter_map(Stored::text).collect();
        let mut talks: BTreeMap<(usize, &str), Vec<&Promised>> = BTreeMap::new();
        let known = |promised: &&Promised| {
            promised.accepted.is_some() && !unknown.contains(promised.text.as_str())
        };
        for promised in self.promised.iter().filter(known) {
            talks.entry((promised.account, &promised.to)).or_default().push(promised);
        }
        for ((account, _), mut promised) in talks {
            promised.sort_by_key(|promised| promised.accepted);
            let left = promised.iter().filter_map(|promised| {
                let taken = self.taken(account, &promised.text);
                let first = taken.iter().filter_map(|entry| entry["seq"].as_u64()).min()?;
                Some((first, promised.text.as_str()))
            });
            let left: Vec<(u64, &str)> = left.collect();
            for pair in left.windows(2) {
                if let [(first, one), (second, other)] = pair {
                    watch.holds("order-out", first < second, || {
                        format!("{one:?} was promised before {other:?} and left after it")
                    });
                }
            }
        }
    }

    fn conversations(&self, watch: &mut Watch, stored: &[Stored]) {
        let mut talks: BTreeMap<(String, String), Vec<&Item>> = BTreeMap::new();
        for item in self.cloud.dynamo.items(TABLE) {
            let (Some(pk), Some("CONV")) = (text(item, "pk"), text(item, "sk")) else { continue };
            let doc: Value = text(item, "doc")
                .and_then(|doc| serde_json::from_str(doc).ok())
                .unwrap_or_default();
            let tenant = pk.strip_prefix("T#").and_then(|rest| rest.split('#').next());
            let account = doc["account"].as_str().unwrap_or_default();
            let address = doc["contact"]["address"].as_str().unwrap_or_default();
            let who = (tenant.unwrap_or_default().to_owned(), format!("{account}/{address}"));
            talks.entry(who).or_default().push(item);
        }
        for (who, items) in &talks {
            watch.holds("one-conversation", items.len() == 1, || {
                format!("{who:?} has {} conversations", items.len())
            });
        }
        for message in stored {
            let pk = format!("T#{}#C#{}", message.tenant, message.conversation());
            let talk = self.cloud.dynamo.item(TABLE, &pk, "CONV");
            watch.holds("one-conversation", talk.is_some(), || {
                format!("{} is in no conversation", message.id)
            });
            let (Some(talk), true) = (talk, message.is_inbound()) else { continue };
            let came: Option<jiff::Timestamp> =
                message.doc["occurred_at"].as_str().and_then(|at| at.parse().ok());
            let latest = talk.get("last_inbound_at").and_then(Attribute::number).unwrap_or(0);
            let fresh = came.is_none_or(|came| came.as_millisecond() <= latest);
            watch.holds("one-conversation", fresh, || {
                format!("the conversation of {} does not know of it", message.id)
            });
        }
    }

    /// Every automation knows what came in, and every bad end.
    fn automations(&self, watch: &mut Watch, stored: &[Stored]) {
        for message in stored {
            let told = self.told.get(&message.tenant).map_or(&[][..], Vec::as_slice);
            let about = |kind: &str, status: Option<&str>| -> BTreeSet<String> {
                let fits = |notice: &&Value| {
                    let body = &notice["body"];
                    let about = &body["data"]["message"];
                    notice["answer"].as_u64().is_some_and(|answer| (200..300).contains(&answer))
                        && body["type"] == kind
                        && about["id"] == message.id.as_str()
                        && status.is_none_or(|status| about["status"] == status)
                };
                let ids = told.iter().filter(fits).filter_map(|n| n["webhook_id"].as_str());
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
            watch.holds("told", ids.len() == 1, || {
                format!("of {} ({}) the automation was told by {ids:?}", message.id, message.status)
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
