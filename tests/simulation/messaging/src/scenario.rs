//! Scenarios of messaging, automations and events.

#![expect(clippy::indexing_slicing, reason = "indexing a JSON value returns null if absent")]

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};
use simulation::chance::{Seed, Sequence};
use simulation::machine::Outage;
use simulation::scenario::{Canonical, Scenario, Step};
use simulation::time;
use simulation::trouble::Source;
use testkit::cloud::client::Service;

use crate::fixtures::CUSTOMERS;

/// Number of accounts: three WhatsApp numbers, then two Telegram bots.
const ACCOUNTS: u64 = 5;
/// Number of WhatsApp numbers.
const WHATSAPP: u64 = 3;

/// An action in a scenario.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// A customer writes a message.
    Writes {
        /// Index of the account.
        account: usize,
        /// Number of the customer.
        customer: u64,
        /// Kind of message.
        what: Writing,
        /// Number of copies of the webhook.
        copies: u64,
    },
    /// An API client sends a message, and retries until it is accepted.
    Sends {
        /// Index of the account.
        account: usize,
        /// Number of the customer.
        customer: u64,
    },
    /// Arms a fault of a provider.
    ProviderFault {
        /// Index of the account.
        account: usize,
        /// The fault in the simulator's control API.
        fault: Value,
    },
    /// Arms faults of a tenant's automation.
    AutomationFault {
        /// Index of an account of the tenant.
        account: usize,
        /// The faults in the simulator's control API.
        script: Value,
    },
    /// Disables the automations' replies, and all WhatsApp receipts but `delivered`.
    Quiet,
    /// Changes the receipts of a number.
    Receipts {
        /// Index of the account.
        account: usize,
        /// The receipts in the simulator's control API.
        receipts: Value,
    },
    /// A provider reports its last message both as failed and as delivered.
    Contradicts {
        /// Index of the account.
        account: usize,
    },
    /// An attacker sends a forged webhook.
    Forges {
        /// Index of the account.
        account: usize,
        /// Kind of forgery.
        kind: &'static str,
    },
    /// The shop sends an event, which the hub only records.
    Tells {
        /// Index of the example event.
        example: usize,
        /// Number of copies of the webhook. The second is sent after the queues' deduplication
        /// interval.
        copies: u64,
        /// Whether the event is forged.
        forged: bool,
    },
    /// The operator's app sends a message for an unclaimed number.
    Strays,
    /// A tenant signs a webhook for another tenant's number.
    Reaches {
        /// Index of the account that signs.
        account: usize,
        /// Index of the account that is named.
        other: usize,
    },
}

/// Kinds of messages that a customer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// A text.
    Text,
    /// An image.
    Picture,
    /// A text too large for an SQS record.
    Long,
}

impl fmt::Display for Writing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Picture => "picture",
            Self::Long => "long text",
        })
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Act::Writes { account, customer, what, copies } => {
                write!(f, "customer {customer} writes a {what} to account {account}")?;
                if *copies > 1 { write!(f, ", {copies} copies") } else { Ok(()) }
            }
            Act::Sends { account, customer } => {
                write!(f, "an API client sends to customer {customer} on account {account}")
            }
            Act::ProviderFault { account, fault } => {
                write!(f, "arms a provider fault of account {account}: {fault}")
            }
            Act::AutomationFault { account, script } => {
                write!(f, "arms automation faults for the tenant of account {account}: {script}")
            }
            Act::Quiet => f.write_str("automations stop replying"),
            Act::Receipts { account, receipts } => {
                write!(f, "changes receipts of account {account} to {receipts}")
            }
            Act::Contradicts { account } => {
                write!(f, "the provider of account {account} sends contradicting receipts")
            }
            Act::Forges { account, kind } => {
                write!(f, "an attacker forges a webhook of account {account}: {kind}")
            }
            Act::Tells { example, copies, forged } => {
                let who = if *forged { "an attacker" } else { "the shop" };
                write!(f, "{who} sends the example event {example}")?;
                if *copies > 1 { write!(f, ", {copies} copies") } else { Ok(()) }
            }
            Act::Strays => f.write_str("a customer writes to an unclaimed number"),
            Act::Reaches { account, other } => {
                write!(f, "account {account} signs for the number of account {other}")
            }
        }
    }
}

fn step(at_ms: u64, act: Act) -> Step {
    Step::new(Duration::from_millis(at_ms), act)
}

/// The canonical scenarios: each runs with every fault at every injection point. All but the first
/// two are short: automations do not reply, and there is one receipt.
#[must_use]
pub fn canonical_scenarios() -> Vec<Canonical> {
    let writes = |account, what| Act::Writes { account, customer: 1, what, copies: 1 };
    let sends = |account| Act::Sends { account, customer: 1 };
    let tells = Act::Tells { example: 0, copies: 2, forged: false };
    let fault = |account, fault| Act::ProviderFault { account, fault };
    let receipts = |receipts| Act::Receipts { account: 0, receipts };
    let short = |acts: Vec<Act>| {
        let acts = acts.into_iter().enumerate();
        let mut steps: Vec<Step> = acts.map(|(n, act)| step(10 * n as u64, act)).collect();
        steps.insert(0, step(0, Act::Quiet));
        steps
    };
    let out_after = |account, kind: Value| short(vec![fault(account, kind), sends(account)]);
    // Two immediate retries, and one that is scheduled in the table.
    let script = json!([
        { "status": 500, "times": 2 }, { "status": 503, "times": 1, "retry_after_s": 1800 },
    ]);
    let down = Act::AutomationFault { account: 0, script };
    let shuffled = receipts(json!({
        "sent": 20, "delivered": 60, "read": 200, "duplicates": 1, "shuffle": true,
    }));
    let lives = vec![
        ("whatsapp-in-and-answered", vec![step(0, writes(0, Writing::Text))]),
        ("telegram-in-and-answered", vec![step(0, writes(3, Writing::Text))]),
        ("whatsapp-in", short(vec![writes(0, Writing::Text)])),
        ("whatsapp-in-through-the-platform", short(vec![writes(2, Writing::Text)])),
        ("whatsapp-picture", short(vec![writes(0, Writing::Picture)])),
        ("telegram-picture", short(vec![writes(3, Writing::Picture)])),
        ("whatsapp-long", short(vec![writes(0, Writing::Long)])),
        ("whatsapp-out", short(vec![sends(0)])),
        ("whatsapp-out-at-least-once", short(vec![sends(1)])),
        ("telegram-out", short(vec![sends(3)])),
        ("whatsapp-out-twice", short(vec![sends(0), sends(0)])),
        ("whatsapp-out-refused", out_after(0, json!({ "kind": "error", "code": 131_026 }))),
        ("whatsapp-out-failed-later", out_after(0, json!({ "kind": "fail_later" }))),
        ("whatsapp-out-without-an-answer", out_after(0, json!({ "kind": "accept_then_time_out" }))),
        ("at-least-once-without-an-answer", out_after(1, json!({ "kind": "accept_then_drop" }))),
        (
            "whatsapp-out-limited",
            out_after(0, json!({ "kind": "rate_limited", "retry_after_s": 3 })),
        ),
        (
            "telegram-out-limited",
            out_after(3, json!({ "kind": "rate_limited", "retry_after_s": 3 })),
        ),
        ("whatsapp-out-broken-down", out_after(0, json!({ "kind": "status", "status": 500 }))),
        ("telegram-out-broken-down", out_after(3, json!({ "kind": "status", "status": 500 }))),
        (
            "whatsapp-out-behind-a-page",
            out_after(0, json!({ "kind": "page", "status": 502, "accepted": true })),
        ),
        ("whatsapp-out-over-the-spare", out_after(0, json!({ "kind": "error", "code": 131_016 }))),
        ("whatsapp-out-locked", out_after(0, json!({ "kind": "error", "code": 131_031 }))),
        ("automation-down-for-an-hour", short(vec![down, writes(0, Writing::Text)])),
        ("receipts-shuffled-and-doubled", short(vec![shuffled, sends(0)])),
        ("event-of-nobody", short(vec![Act::Strays])),
        ("event-told-again", vec![step(0, tells)]),
    ];
    lives.into_iter().map(|(name, steps)| Canonical { name, steps }).collect()
}

/// The random scenario of `seed`: mostly a canonical scenario with many faults, sometimes many
/// customers.
#[must_use]
pub fn drawn(seed: u64) -> Scenario {
    let chance = Seed(seed).sequence("scenario");
    if chance.below(6) < 5
        && let Some(life) = chance.pick(&canonical_scenarios()).cloned()
    {
        return life.drawn(seed, &chance);
    }
    let large = chance.below(6) == 0;
    let customers = 1 + chance.below(if large { CUSTOMERS } else { 2 });
    let length_ms = 500 + chance.below(if large { 60_000 } else { 8000 });
    let mut steps = Vec::new();
    if chance.below(4) > 0 {
        steps.push(step(0, Act::Quiet));
    }
    for _ in 0..2 + chance.below(if large { 14 } else { 4 }) {
        let at = chance.below(length_ms);
        let account = usize::try_from(chance.below(ACCOUNTS)).unwrap_or(0);
        let number = usize::try_from(chance.below(WHATSAPP)).unwrap_or(0);
        let customer = 1 + chance.below(customers);
        let act = match chance.below(23) {
            0..=7 => Act::Writes {
                account,
                customer,
                what: match chance.below(12) {
                    0 => Writing::Picture,
                    1 => Writing::Long,
                    _ => Writing::Text,
                },
                copies: 1 + chance.below(4) / 3,
            },
            8..=13 => Act::Sends { account, customer },
            14 => Act::ProviderFault { account, fault: provider_fault(&chance, account) },
            15 => Act::AutomationFault {
                account,
                script: json!([{ "status": 503, "times": 1 + chance.below(8) }]),
            },
            16 => Act::Contradicts { account: number },
            17 => Act::Receipts { account: number, receipts: receipts(&chance) },
            18 => {
                let kinds = ["wrong_secret", "no_signature", "tampered", "sha1"];
                let kind = chance.pick(&kinds).copied().unwrap_or("tampered");
                Act::Forges { account: number, kind }
            }
            19..=20 => Act::Tells {
                example: usize::try_from(chance.below(8)).unwrap_or(0),
                copies: 1 + chance.below(3) / 2,
                forged: chance.below(5) == 0,
            },
            21 => Act::Strays,
            _ => Act::Reaches { account: number.min(1), other: 1 - number.min(1) },
        };
        steps.push(step(at, act));
    }
    steps.sort_by_key(|step| step.at);
    let mut outages = Vec::new();
    if chance.below(5) == 0 {
        let services = [Service::DynamoDb, Service::Sqs, Service::S3, Service::SecretsManager];
        let service = chance.pick(&services).copied().unwrap_or(Service::Sqs);
        let from = time::START + Duration::from_millis(chance.below(length_ms));
        let until = from + Duration::from_millis(chance.below(400_000));
        outages.push(Outage { service, from, until });
    }
    Scenario {
        name: "crowd".to_owned(),
        seed: Seed(seed),
        steps,
        source: Source::Drawn { per_mille: chance.below(60) },
        outages,
        wild: chance.below(3) > 0,
        even: false,
        limits: None,
    }
}

fn provider_fault(chance: &Sequence, account: usize) -> Value {
    let times = 1 + chance.below(3);
    let mut fault = match chance.below(8) {
        0 => json!({ "kind": "accept_then_time_out" }),
        1 => json!({ "kind": "accept_then_drop" }),
        2 => json!({ "kind": "drop" }),
        3 => match chance.below(3) {
            0 => json!({ "kind": "status", "status": 500 }),
            accepted => json!({ "kind": "page", "status": 502, "accepted": accepted == 1 }),
        },
        4 => json!({ "kind": "rate_limited", "retry_after_s": 1 + chance.below(20) }),
        5 => json!({ "kind": "delay", "delay_ms": chance.below(9000) }),
        _ if account >= 3 => json!({ "kind": "error", "code": 403 }),
        6 => json!({ "kind": "fail_later" }),
        _ => json!({ "kind": "error", "code": 131_026 }),
    };
    fault["times"] = times.into();
    fault
}

fn receipts(chance: &Sequence) -> Value {
    let some = |most: u64| -> Value {
        if chance.below(4) == 0 { Value::Null } else { chance.below(most).into() }
    };
    let (sent, delivered, read) = (some(5000), some(20_000), some(60_000));
    json!({
        "sent": sent, "delivered": delivered, "read": read,
        "duplicates": chance.below(3), "shuffle": chance.below(2) == 0,
        "together": chance.below(4) == 0,
    })
}
