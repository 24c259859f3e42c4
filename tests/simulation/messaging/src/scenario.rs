//! Scenarios of messaging, automations and events.

#![expect(clippy::indexing_slicing, reason = "indexing a JSON value returns null if absent")]

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};
use simulation::faults::Source;
use simulation::machine::Outage;
use simulation::random::{Seed, SeededRng};
use simulation::scenario::{CanonicalScenario, Scenario, Step};
use simulation::time;
use testkit::cloud::client::Service;

use crate::fixtures::CUSTOMERS;

/// Number of accounts: three WhatsApp numbers, then two Telegram bots.
const ACCOUNTS: u64 = 5;
/// Number of WhatsApp numbers.
const WHATSAPP: u64 = 3;

/// An action in a scenario.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A customer writes a message.
    Writes {
        /// Index of the account.
        account: usize,
        /// Number of the customer.
        customer: u64,
        /// Kind of message.
        what: MessageKind,
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
    SendsEvent {
        /// Index of the example event.
        example: usize,
        /// Number of copies of the webhook. The second is sent after the queues' deduplication
        /// interval.
        copies: u64,
        /// Whether the event is forged.
        forged: bool,
    },
    /// The operator's app sends a message for an unclaimed number.
    WritesToUnclaimed,
    /// A tenant signs a webhook for another tenant's number.
    SignsForOther {
        /// Index of the account that signs.
        account: usize,
        /// Index of the account that is named.
        other: usize,
    },
}

/// Kinds of messages that a customer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// A text.
    Text,
    /// An image.
    Picture,
    /// A text too large for an SQS record.
    Long,
}

impl fmt::Display for MessageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Picture => "picture",
            Self::Long => "long text",
        })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Writes { account, customer, what, copies } => {
                write!(f, "customer {customer} writes a {what} to account {account}")?;
                if *copies > 1 { write!(f, ", {copies} copies") } else { Ok(()) }
            }
            Action::Sends { account, customer } => {
                write!(f, "an API client sends to customer {customer} on account {account}")
            }
            Action::ProviderFault { account, fault } => {
                write!(f, "arms a provider fault of account {account}: {fault}")
            }
            Action::AutomationFault { account, script } => {
                write!(f, "arms automation faults for the tenant of account {account}: {script}")
            }
            Action::Quiet => f.write_str("automations stop replying"),
            Action::Receipts { account, receipts } => {
                write!(f, "changes receipts of account {account} to {receipts}")
            }
            Action::Contradicts { account } => {
                write!(f, "the provider of account {account} sends contradicting receipts")
            }
            Action::Forges { account, kind } => {
                write!(f, "an attacker forges a webhook of account {account}: {kind}")
            }
            Action::SendsEvent { example, copies, forged } => {
                let who = if *forged { "an attacker" } else { "the shop" };
                write!(f, "{who} sends the example event {example}")?;
                if *copies > 1 { write!(f, ", {copies} copies") } else { Ok(()) }
            }
            Action::WritesToUnclaimed => f.write_str("a customer writes to an unclaimed number"),
            Action::SignsForOther { account, other } => {
                write!(f, "account {account} signs for the number of account {other}")
            }
        }
    }
}

fn step(at_ms: u64, action: Action) -> Step {
    Step::new(Duration::from_millis(at_ms), action)
}

/// The canonical scenarios: each runs with every fault at every injection point. All but the first
/// two are short: automations do not reply, and there is one receipt.
#[must_use]
pub fn canonical_scenarios() -> Vec<CanonicalScenario> {
    let writes = |account, what| Action::Writes { account, customer: 1, what, copies: 1 };
    let sends = |account| Action::Sends { account, customer: 1 };
    let event = Action::SendsEvent { example: 0, copies: 2, forged: false };
    let fault = |account, fault| Action::ProviderFault { account, fault };
    let receipts = |receipts| Action::Receipts { account: 0, receipts };
    let short = |actions: Vec<Action>| {
        let actions = actions.into_iter().enumerate();
        let mut steps: Vec<Step> = actions.map(|(n, action)| step(10 * n as u64, action)).collect();
        steps.insert(0, step(0, Action::Quiet));
        steps
    };
    let out_after = |account, kind: Value| short(vec![fault(account, kind), sends(account)]);
    // Two immediate retries, and one that is scheduled in the table.
    let script = json!([
        { "status": 500, "times": 2 }, { "status": 503, "times": 1, "retry_after_s": 1800 },
    ]);
    let down = Action::AutomationFault { account: 0, script };
    let shuffled = receipts(json!({
        "sent": 20, "delivered": 60, "read": 200, "duplicates": 1, "shuffle": true,
    }));
    let scenarios = vec![
        ("whatsapp-in-and-answered", vec![step(0, writes(0, MessageKind::Text))]),
        ("telegram-in-and-answered", vec![step(0, writes(3, MessageKind::Text))]),
        ("whatsapp-in", short(vec![writes(0, MessageKind::Text)])),
        ("whatsapp-in-through-the-platform", short(vec![writes(2, MessageKind::Text)])),
        ("whatsapp-picture", short(vec![writes(0, MessageKind::Picture)])),
        ("telegram-picture", short(vec![writes(3, MessageKind::Picture)])),
        ("whatsapp-long", short(vec![writes(0, MessageKind::Long)])),
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
        ("automation-down-for-an-hour", short(vec![down, writes(0, MessageKind::Text)])),
        ("receipts-shuffled-and-doubled", short(vec![shuffled, sends(0)])),
        ("event-of-nobody", short(vec![Action::WritesToUnclaimed])),
        ("event-told-again", vec![step(0, event)]),
    ];
    scenarios.into_iter().map(|(name, steps)| CanonicalScenario { name, steps }).collect()
}

/// The random scenario of `seed`: mostly a canonical scenario with many faults, sometimes many
/// customers.
#[must_use]
pub fn random_scenario(seed: u64) -> Scenario {
    let rng = Seed(seed).rng("scenario");
    if rng.below(6) < 5
        && let Some(scenario) = rng.pick(&canonical_scenarios()).cloned()
    {
        return scenario.with_random_faults(seed, &rng);
    }
    let large = rng.below(6) == 0;
    let customers = 1 + rng.below(if large { CUSTOMERS } else { 2 });
    let length_ms = 500 + rng.below(if large { 60_000 } else { 8000 });
    let mut steps = Vec::new();
    if rng.below(4) > 0 {
        steps.push(step(0, Action::Quiet));
    }
    for _ in 0..2 + rng.below(if large { 14 } else { 4 }) {
        let at = rng.below(length_ms);
        let account = usize::try_from(rng.below(ACCOUNTS)).unwrap_or(0);
        let number = usize::try_from(rng.below(WHATSAPP)).unwrap_or(0);
        let customer = 1 + rng.below(customers);
        let action = match rng.below(23) {
            0..=7 => Action::Writes {
                account,
                customer,
                what: match rng.below(12) {
                    0 => MessageKind::Picture,
                    1 => MessageKind::Long,
                    _ => MessageKind::Text,
                },
                copies: 1 + rng.below(4) / 3,
            },
            8..=13 => Action::Sends { account, customer },
            14 => Action::ProviderFault { account, fault: provider_fault(&rng, account) },
            15 => Action::AutomationFault {
                account,
                script: json!([{ "status": 503, "times": 1 + rng.below(8) }]),
            },
            16 => Action::Contradicts { account: number },
            17 => Action::Receipts { account: number, receipts: receipts(&rng) },
            18 => {
                let kinds = ["wrong_secret", "no_signature", "tampered", "sha1"];
                let kind = rng.pick(&kinds).copied().unwrap_or("tampered");
                Action::Forges { account: number, kind }
            }
            19..=20 => Action::SendsEvent {
                example: usize::try_from(rng.below(8)).unwrap_or(0),
                copies: 1 + rng.below(3) / 2,
                forged: rng.below(5) == 0,
            },
            21 => Action::WritesToUnclaimed,
            _ => Action::SignsForOther { account: number.min(1), other: 1 - number.min(1) },
        };
        steps.push(step(at, action));
    }
    steps.sort_by_key(|step| step.at);
    let mut outages = Vec::new();
    if rng.below(5) == 0 {
        let services =
            [Service::DynamoDb, Service::Sqs, Service::S3, Service::SecretsManager, Service::Kms];
        let service = rng.pick(&services).copied().unwrap_or(Service::Sqs);
        let from = time::START + Duration::from_millis(rng.below(length_ms));
        let until = from + Duration::from_millis(rng.below(400_000));
        outages.push(Outage { service, from, until });
    }
    Scenario {
        name: "crowd".to_owned(),
        seed: Seed(seed),
        steps,
        source: Source::Random { per_mille: rng.below(60) },
        outages,
        nondeterministic_queues: rng.below(3) > 0,
        equal_latencies: false,
        limits: None,
    }
}

fn provider_fault(rng: &SeededRng, account: usize) -> Value {
    let times = 1 + rng.below(3);
    let mut fault = match rng.below(8) {
        0 => json!({ "kind": "accept_then_time_out" }),
        1 => json!({ "kind": "accept_then_drop" }),
        2 => json!({ "kind": "drop" }),
        3 => match rng.below(3) {
            0 => json!({ "kind": "status", "status": 500 }),
            accepted => json!({ "kind": "page", "status": 502, "accepted": accepted == 1 }),
        },
        4 => json!({ "kind": "rate_limited", "retry_after_s": 1 + rng.below(20) }),
        5 => json!({ "kind": "delay", "delay_ms": rng.below(9000) }),
        _ if account >= 3 => json!({ "kind": "error", "code": 403 }),
        6 => json!({ "kind": "fail_later" }),
        _ => json!({ "kind": "error", "code": 131_026 }),
    };
    fault["times"] = times.into();
    fault
}

fn receipts(rng: &SeededRng) -> Value {
    let some = |most: u64| -> Value {
        if rng.below(4) == 0 { Value::Null } else { rng.below(most).into() }
    };
    let (sent, delivered, read) = (some(5000), some(20_000), some(60_000));
    json!({
        "sent": sent, "delivered": delivered, "read": read,
        "duplicates": rng.below(3), "shuffle": rng.below(2) == 0,
        "together": rng.below(4) == 0,
    })
}
