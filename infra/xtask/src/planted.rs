//! Bugs that the simulation must find: each one slip of a person's, in one place.

use std::path::Path;

use crate::{
    error::{Error, Result},
    workspace,
};

/// A bug, as a replacement in one file.
#[derive(Debug)]
pub(crate) struct Bug {
    /// What it is called.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) what: &'static str,
    /// Where, from the workspace's root.
    pub(crate) file: &'static str,
    /// What stands there, exactly once.
    pub(crate) right: &'static str,
    /// What stands there in its place.
    pub(crate) wrong: &'static str,
    /// What it breaks: the simulation's invariants. Another may notice it first.
    pub(crate) breaks: &'static [&'static str],
}

impl Bug {
    /// `source` with the bug in it.
    pub(crate) fn plant(&self, source: &str) -> Result<String> {
        if self.right != self.wrong && source.matches(self.right).count() == 1 {
            return Ok(source.replacen(self.right, self.wrong, 1));
        }
        Err(Error::step(
            format!("planting {}", self.name),
            format!("it no longer fits {}: update infra/xtask/src/planted.rs", self.file),
        ))
    }

    /// The file with the bug in it, as it would be in the workspace at `root`.
    pub(crate) fn planted(&self, root: &Path) -> Result<String> {
        self.plant(&workspace::read(&root.join(self.file))?)
    }
}

/// The bugs of these names, or all of them if none is named.
pub(crate) fn named(names: &[String]) -> Result<Vec<&'static Bug>> {
    if names.is_empty() {
        return Ok(BUGS.iter().collect());
    }
    let find = |name: &String| {
        BUGS.iter().find(|bug| bug.name == name).ok_or_else(|| {
            let known: Vec<_> = BUGS.iter().map(|bug| bug.name).collect();
            let detail = format!("there is no bug {name}; there are {}", known.join(", "));
            Error::step("--planted", detail)
        })
    };
    names.iter().map(find).collect()
}

const API_MESSAGES: &str = "shared/runtime/src/api/messages.rs";
const AUTOMATION: &str = "shared/runtime/src/automation.rs";
const BATCH: &str = "shared/runtime/src/batch.rs";
const EVENT: &str = "shared/domain/src/event.rs";
const INBOUND: &str = "shared/runtime/src/inbound.rs";
const DOMAIN_SENDER: &str = "shared/domain/src/sender.rs";
const OUTBOUND: &str = "shared/runtime/src/outbound.rs";
const SCHEDULE: &str = "shared/runtime/src/schedule.rs";
const SENDER: &str = "shared/runtime/src/sender.rs";
const WEBHOOK: &str = "shared/runtime/src/webhook.rs";
const META: &str = "shared/providers/src/meta.rs";
const STORE_INBOX: &str = "shared/store/src/inbox.rs";
const STORE_OUTBOX: &str = "shared/store/src/outbox.rs";
const STORE_RECEIPTS: &str = "shared/store/src/receipts.rs";

/// All of them.
pub(crate) const BUGS: &[Bug] = &[
    Bug {
        name: "schedule-cleared-first",
        what: "a retry is taken out of the schedule before it is in its queue",
        file: SCHEDULE,
        right: "        queue.publish(records.collect::<PortResult<_>>()?).await?;
        // Side by side: each batch is its own.
        try_join_all(due.chunks(25).map(|batch| store.done(batch))).await?;",
        wrong: "        try_join_all(due.chunks(25).map(|batch| store.done(batch))).await?;
        queue.publish(records.collect::<PortResult<_>>()?).await?;",
        breaks: &["told"],
    },
    Bug {
        name: "lease-ignored",
        what: "a message is claimed while another sender holds it",
        file: STORE_OUTBOX,
        right: r#""attribute_not_exists(pk) OR #status = :queued".to_owned()"#,
        wrong: r#""attribute_not_exists(pk) OR #status IN (:queued, :sending)".to_owned()"#,
        breaks: &["sent-once"],
    },
    Bug {
        name: "sent-again-when-unknown",
        what: "a message without an answer is sent again",
        file: SENDER,
        right: "Next::Unknown => self.settle(held, Ending::of(Status::Unknown, &error)).await,",
        wrong: "Next::Unknown => {
                    self.store.release(message, held.token, &[]).await?;
                    Err(Failure::retry(error.code()))
                }",
        breaks: &["sent-once"],
    },
    Bug {
        name: "moved-when-unknown",
        what: "a message without an answer is handed over to the next carrier",
        file: DOMAIN_SENDER,
        right: "Fault::Unknown if elsewhere && again => Next::Elsewhere { come_back: true },",
        wrong: "Fault::Unknown if elsewhere => Next::Elsewhere { come_back: true },",
        breaks: &["sent-once"],
    },
    Bug {
        name: "interrupted-sent-again",
        what: "a message whose sender died is sent again",
        file: SENDER,
        right: "let retake = again;",
        wrong: "let retake = true;",
        breaks: &["sent-once"],
    },
    Bug {
        name: "interrupted-given-up",
        what: "a message that may be sent twice is not, once its sender died",
        file: SENDER,
        right: "let retake = again;",
        wrong: "let retake = false;",
        breaks: &["sent-at-all"],
    },
    Bug {
        name: "failed-claim-granted",
        what: "a claim that failed counts as granted",
        file: SENDER,
        right: "let claim = self.store.claim(task, &token, claimed_at, LEASE, retake).await?;",
        wrong: "let claim = self.store.claim(task, &token, claimed_at, LEASE, retake).await;
        let claim = claim.unwrap_or(Claim::Granted { attempt: 1 });",
        breaks: &["claim-first", "sent-once", "fate-known"],
    },
    Bug {
        name: "end-not-told",
        what: "who finds a message settled does not tell the automation",
        file: SENDER,
        right: "Claim::Settled(message) => return self.tell(*message).await,",
        wrong: "Claim::Settled(_) => return Ok(()),",
        breaks: &["told"],
    },
    Bug {
        name: "address-in-the-history",
        what: "a failure says at which address, and with it a bot's token",
        file: SENDER,
        right: "let response = self.caller.call(sender.request(&outgoing)?).await?;",
        wrong: "let request = sender.request(&outgoing)?;
            let address = request.uri().to_string();
            let response = self.caller.call(request).await;
            let response = response.map_err(|error| SendError::Refused {
                status: StatusCode::BAD_GATEWAY,
                code: error.code().to_owned(),
                remedy: format!(\"{error} from {address}\"),
                fault: error.fault(),
                about: domain::sender::About::Account,
            })?;",
        breaks: &["secrets"],
    },
    Bug {
        name: "done-before-the-write",
        what: "an inbound message that could not be written counts as done",
        file: INBOUND,
        right: "let recorded = self.store.record(&message).await?;",
        wrong: "let recorded = match self.store.record(&message).await {
            Ok(recorded) => recorded,
            Err(error) => {
                tracing::error!(%error, \"message not recorded\");
                return Ok(());
            }
        };",
        breaks: &["accepted-once", "told", "one-conversation"],
    },
    Bug {
        name: "event-id-from-the-clock",
        what: "a repeated webhook makes another event",
        file: EVENT,
        right: "EventId::derived(&self.identity())",
        wrong: "EventId::derived_at(self.received_at, &self.identity())",
        breaks: &["recorded"],
    },
    Bug {
        name: "effect-skipped-on-duplicate",
        what: "of an inbound message seen before nothing more is done",
        file: INBOUND,
        right: "        if file.is_some() {
            let key",
        wrong: "        if recorded == Recorded::Duplicate {
            return Ok(());
        }
        if file.is_some() {
            let key",
        breaks: &["told", "one-conversation", "media"],
    },
    Bug {
        name: "id-from-the-clock",
        what: "a repeated webhook makes another message",
        file: INBOUND,
        right: "MessageId::derived_at(event.identity_time(), &parts)",
        wrong: "MessageId::derived_at(event.received_at, &parts)",
        breaks: &["accepted-once"],
    },
    Bug {
        name: "place-by-their-clock",
        what: "inbound messages are listed by the provider's time, in whole seconds",
        file: INBOUND,
        right: "        created_at: event.received_at,
        occurred_at:",
        wrong: "        created_at: event.occurred_at,
        occurred_at:",
        breaks: &["order-in"],
    },
    Bug {
        name: "archive-skipped",
        what: "a batch whose archive failed is done",
        file: INBOUND,
        right: "archive(&self.bucket, jobs).await",
        wrong: "archive(&self.bucket, jobs).await.or(Ok(()))",
        breaks: &["archived"],
    },
    Bug {
        name: "file-forgotten",
        what: "a file that could not be asked for is forgotten",
        file: INBOUND,
        right: "fetched?;",
        wrong: "drop(fetched);",
        breaks: &["media"],
    },
    Bug {
        name: "older-message-wins",
        what: "a conversation is brought up to date by an older message",
        file: STORE_INBOX,
        right: "attribute_not_exists(last_inbound_at) OR last_inbound_at <= :inbound",
        wrong: "attribute_not_exists(last_inbound_at) OR attribute_exists(last_inbound_at)",
        breaks: &["one-conversation"],
    },
    Bug {
        name: "status-overwritten",
        what: "a late receipt moves a message down",
        file: STORE_RECEIPTS,
        right: r#""attribute_exists(pk) AND #rank < :rank""#,
        wrong: r#""attribute_exists(pk)""#,
        breaks: &["never-down", "fate-agrees"],
    },
    Bug {
        name: "receipt-overwritten-by-settle",
        what: "the sender's note moves down what a receipt moved up",
        file: STORE_OUTBOX,
        right: r##""#token = :token AND #rank < :rank""##,
        wrong: r##""#token = :token""##,
        breaks: &["never-down", "fate-agrees"],
    },
    Bug {
        name: "rest-of-the-group-forgotten",
        what: "what waits in a batch behind a failed record counts as done",
        file: BATCH,
        right: "group.iter().skip(place).filter(",
        wrong: "group.iter().skip(place).take(1).filter(",
        breaks: &["accepted-once", "fate-known"],
    },
    Bug {
        name: "group-in-parallel",
        what: "records of one group are worked side by side",
        file: BATCH,
        right: "let own = group(&entry);",
        wrong: "let own: Option<String> = None;",
        breaks: &["order-out"],
    },
    Bug {
        name: "signature-not-checked",
        what: "a webhook without the right signature is taken in",
        file: META,
        right: "if signature::is_hmac_sha256(&self.app_secrets, &[&request.body], &given) {",
        wrong: "if !given.is_empty() {",
        breaks: &["forged"],
    },
    Bug {
        name: "tenant-not-checked",
        what: "a tenant's app may speak for another tenant's account",
        file: WEBHOOK,
        right: "return Err(Refusal::Foreign { integration: integration.id });",
        wrong: r#"tracing::warn!(integration = %integration.id, "another tenant's account");"#,
        breaks: &["forged", "from-somebody"],
    },
    Bug {
        name: "answered-before-queued",
        what: "a webhook is answered though its events are in no queue",
        file: WEBHOOK,
        right: "inbound.and(receipts).and(others).and(parked)?;",
        wrong: r#"if let Err(error) = inbound.and(receipts).and(others).and(parked) {
        tracing::warn!(%error, "not queued");
    }"#,
        breaks: &["accepted-once"],
    },
    Bug {
        name: "retry-forgotten",
        what: "the next attempt to tell an automation is in no queue",
        file: AUTOMATION,
        right: "self.queue.publish(vec![retry(tenant, id, Some(wait))?]).await",
        wrong: "Ok(())",
        breaks: &["told"],
    },
    Bug {
        name: "group-per-message",
        what: "a conversation's messages are in groups of their own",
        file: OUTBOUND,
        right: "group: group.to_string(),",
        wrong: "group: id.to_string(),",
        breaks: &["order-out"],
    },
    Bug {
        name: "key-forgotten",
        what: "a repeated request under a reserved key makes another message",
        file: API_MESSAGES,
        right: "Reservation::Same(first) => id = first,",
        wrong: "Reservation::Same(_) => {}",
        breaks: &["idempotent", "fate-known"],
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const BUG: Bug = Bug {
        name: "example",
        what: "says the opposite",
        file: "example.rs",
        right: "is safe",
        wrong: "is not safe",
        breaks: &["rules"],
    };

    #[test]
    fn a_bug_is_planted_where_its_text_stands_once() {
        assert_eq!(BUG.plant("this is safe.").unwrap(), "this is not safe.");
    }

    #[test]
    fn a_bug_that_fits_nowhere_or_twice_names_itself_and_its_file() {
        for source in ["this was safe.", "this is safe, that is safe."] {
            let error = BUG.plant(source).unwrap_err().to_string();
            assert!(error.starts_with("planting example failed"), "{error}");
            assert!(error.contains("no longer fits example.rs"), "{error}");
        }
    }

    #[test]
    fn every_bug_fits_the_sources() {
        for bug in BUGS {
            let planted = bug.planted(&workspace::root()).unwrap();
            assert!(planted.contains(bug.wrong), "{}", bug.name);
        }
    }

    #[test]
    fn every_bug_has_a_name_of_its_own() {
        let names: BTreeSet<_> = BUGS.iter().map(|bug| bug.name).collect();
        assert_eq!(names.len(), BUGS.len());
    }

    #[test]
    fn every_bug_breaks_something_that_the_simulation_looks_at() {
        let path = workspace::root().join("tests/simulation/src/check.rs");
        let check = workspace::read(&path).unwrap();
        for bug in BUGS {
            assert!(!bug.breaks.is_empty(), "{}", bug.name);
            for invariant in bug.breaks {
                assert!(check.contains(&format!("(\"{invariant}\",")), "{}: {invariant}", bug.name);
            }
        }
    }

    #[test]
    fn bugs_are_found_by_their_names() {
        let found = named(&["file-forgotten".to_owned()]).unwrap();
        assert_eq!(found.iter().map(|bug| bug.name).collect::<Vec<_>>(), ["file-forgotten"]);
        assert_eq!(named(&[]).unwrap().len(), BUGS.len());
        assert!(named(&["nothing".to_owned()]).unwrap_err().to_string().contains("lease-ignored"));
    }
}
