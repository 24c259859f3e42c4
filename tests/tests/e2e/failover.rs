//! WhatsApp through four providers: inbound and outbound on each, and failover from each to each
//! other.

use domain::address::Address;
use serde_json::{Value, json};

use crate::fixtures::{Tenant, person};
use crate::hub::{Client, DEFAULT_TIMEOUT, HUB, digits, eventually, random, run_concurrently};

/// Provider of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Provider {
    Meta,
    Infobip,
    Twilio,
    Evolution,
}

const TWILIO_KEY: &str = "SK00000000000000000000000000000001";

const ALL: [Provider; 4] =
    [Provider::Meta, Provider::Infobip, Provider::Twilio, Provider::Evolution];

/// Condition of a provider's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Healthy,
    /// Refuses connections.
    Unreachable,
    /// Rejects the hub's credentials.
    Unauthorized,
    /// Returns 429 with a `Retry-After` of an hour.
    RateLimited,
    /// Accepts messages and closes the connection without a response.
    AcceptsAndDrops,
    /// Closes the connection without accepting the message.
    Drops,
}

/// An account at the hub and at the simulator.
struct Account {
    integration: String,
    /// Path of the account in the simulator's control API.
    path: String,
    simulator: Client,
}

impl Account {
    fn new(tenant: &Tenant, provider: Provider, condition: Condition) -> Self {
        // Nothing listens on the discard port.
        let unreachable = condition == Condition::Unreachable;
        let base_url = if unreachable { "http://127.0.0.1:9" } else { &HUB.simulator };
        let name = digits(11);
        let key = format!("key-{name}");
        let known = if condition == Condition::Unauthorized { "another-key" } else { &key };
        let sid = format!("AC{:032x}", random());
        let (name_at_hub, settings, credentials, path, account) = match provider {
            Provider::Meta => (
                "whatsapp",
                json!({"phone_number_id": name, "base_url": base_url}),
                json!({"WHATSAPP_ACCESS_TOKEN": key, "WHATSAPP_APP_SECRET": "secret",
                       "WHATSAPP_WEBHOOK_VERIFY_TOKEN": "verify"}),
                format!("whatsapp/{name}"),
                json!({"token": known, "app_secret": "secret", "verify_token": "verify"}),
            ),
            Provider::Infobip => (
                "infobip",
                json!({"account": name, "base_url": base_url}),
                json!({"INFOBIP_API_KEY": key, "INFOBIP_WEBHOOK_SECRET": "hub:password"}),
                format!("infobip/{name}"),
                json!({"api_key": known, "webhook_secret": "hub:password"}),
            ),
            Provider::Twilio => (
                "twilio",
                json!({"whatsapp_from": format!("+{name}"), "from": format!("+{name}"),
                       "base_url": base_url}),
                json!({"TWILIO_ACCOUNT_SID": sid, "TWILIO_AUTH_TOKEN": key,
                       "TWILIO_API_KEY": TWILIO_KEY,
                       "TWILIO_API_SECRET": "voice-secret"}),
                format!("twilio/{sid}"),
                // The token also verifies inbound webhooks, so only the API key is made invalid.
                json!({"auth_token": key, "numbers": [format!("+{name}")],
                "whatsapp": [format!("+{name}")],
                "api_keys": if condition == Condition::Unauthorized { json!({}) } else {
                    json!({TWILIO_KEY: "voice-secret"})
                }}),
            ),
            Provider::Evolution => (
                "evolution",
                json!({"instance": name, "base_url": base_url}),
                json!({"EVOLUTION_API_KEY": key}),
                format!("evolution/{name}"),
                json!({"token": known, "number": name}),
            ),
        };
        let simulator = Client::simulator();
        let control = format!("/_sim/{path}");
        if provider == Provider::Evolution {
            // The hub registers its webhook at the instance when it creates the integration.
            simulator.put(&control, &account).expect(200);
        }
        let request = json!({"provider": name_at_hub, "settings": settings,
                            "credentials": credentials});
        let made = tenant.api.post("/integrations", &request).expect(201);
        let mut account = account;
        let urls = &made["webhook_urls"];
        match provider {
            Provider::Evolution => {
                let connected =
                    !matches!(condition, Condition::Unreachable | Condition::Unauthorized);
                assert_eq!(made["connection"]["connected"], connected, "{made}");
            }
            Provider::Twilio => {
                account["urls"] = json!({"whatsapp": urls["twilio-whatsapp"], "sms": urls["twilio-sms"],
                    "voice": urls["twilio-voice"], "sms_status": "", "voice_status": "",
                    "whatsapp_status": ""});
                simulator.put(&control, &account).expect(200);
            }
            Provider::Meta | Provider::Infobip => {
                account["hub_url"] = made["webhook_url"].clone();
                simulator.put(&control, &account).expect(200);
            }
        }
        let integration = made["id"].as_str().unwrap().to_owned();
        let account = Self { integration, path, simulator };
        let fault_always = |mut fault: Value| {
            fault["times"] = json!(1000);
            account.control("faults", &json!({"faults": [fault]}));
        };
        match condition {
            Condition::RateLimited => {
                fault_always(json!({"kind": "rate_limited", "retry_after_s": 3600}));
            }
            Condition::AcceptsAndDrops => fault_always(json!({"kind": "accept_then_drop"})),
            Condition::Drops => fault_always(json!({"kind": "drop"})),
            Condition::Healthy | Condition::Unreachable | Condition::Unauthorized => {}
        }
        account
    }

    #[track_caller]
    fn control(&self, what: &str, body: &Value) -> Value {
        self.simulator.post(&format!("/_sim/{}/{what}", self.path), body).expect(200)
    }

    /// Has a customer write a message, and checks that the hub accepts the webhook.
    #[track_caller]
    fn writes(&self, from: &str, text: &str) {
        let (from, channel) = if self.path.starts_with("twilio") {
            (format!("+{from}"), "whatsapp")
        } else {
            (from.to_owned(), "")
        };
        let mut wrote = json!({"from": from, "name": "Zoë", "text": text});
        if !channel.is_empty() {
            wrote["channel"] = channel.into();
        }
        let answer = self.control("customer-writes", &wrote);
        assert_eq!(answer["webhook_status"], 200, "{answer}");
    }

    /// Number of messages that the provider accepted.
    #[track_caller]
    fn accepted(&self) -> u64 {
        let shown = self.simulator.get(&format!("/_sim/{}", self.path)).expect(200);
        shown["accepted"].as_u64().unwrap_or_else(|| panic!("{shown}"))
    }
}

/// Waits for the tenant's conversation with a customer on an integration.
#[track_caller]
fn find_conversation(tenant: &Tenant, integration: &str, person: &str) -> Value {
    eventually(&format!("a conversation on {integration}"), DEFAULT_TIMEOUT, || {
        let page = tenant.api.get("/conversations?limit=100").expect(200);
        let mut conversations = page["conversations"].as_array().unwrap().iter();
        let found = conversations.find(|conversation| {
            let address = conversation["contact"]["address"].as_str().unwrap_or_default();
            let is_with = Address::phone(address) == Address::phone(person);
            conversation["integration"] == integration && is_with
        });
        found.cloned().ok_or_else(|| page.to_string())
    })
}

/// Whether a step of a message's history has a detail with this text.
fn has_detail(message: &Value, text: &str) -> bool {
    let steps = message["history"].as_array().unwrap();
    steps.iter().any(|step| step["detail"].as_str().is_some_and(|detail| detail.contains(text)))
}

#[test]
fn each_provider_receives_sends_and_reports_receipts() {
    run_concurrently(ALL.len(), |place| {
        let provider = ALL[place];
        let tenant = Tenant::new("carried");
        let account = Account::new(&tenant, provider, Condition::Healthy);
        let from = person();
        account.writes(&from, "hello");
        let conversation = find_conversation(&tenant, &account.integration, &from);
        assert_eq!(conversation["channel"], "whatsapp", "{provider:?}");
        let messages = tenant.messages(conversation["id"].as_str().unwrap());
        assert_eq!(messages[0]["text"], "hello", "{provider:?}: {messages:?}");
        let id = tenant.send(&json!({"conversation": conversation["id"], "text": "hi yourself"}));
        let read = tenant.until(&id, "read");
        assert_eq!(account.accepted(), 1, "{provider:?} {read}");
        // By phone number, without a conversation id, on `POST /whatsapp/send`.
        let sent = tenant.api.post("/whatsapp/send", &json!({"to": from, "text": "more"}));
        let id = sent.expect(202)["id"].as_str().unwrap().to_owned();
        assert_eq!(tenant.until(&id, "read")["conversation"], conversation["id"], "{provider:?}");
    });
}

/// Sends one message on an account in this condition, with failover to a healthy account.
fn check_failover(first: Provider, second: Provider, condition: Condition) {
    let why = format!("{first:?}, {condition:?}, then {second:?}");
    let tenant = Tenant::new("failover");
    let a = Account::new(&tenant, first, condition);
    let b = Account::new(&tenant, second, Condition::Healthy);
    let from = person();
    let receives = receives_messages(first, condition);
    if receives {
        a.writes(&from, "hello");
    }
    b.writes(&from, "hello there");
    find_conversation(&tenant, &b.integration, &from);
    let settings = json!({
        "whatsapp_provider": provider_name(first), "integration": a.integration,
        "failover": [b.integration], "policy": {"patience_seconds": 0}});
    let path = format!("/tenants/{}/whatsapp-settings", tenant.id);
    tenant.api.put(&path, &settings).expect(200);
    let to = if receives {
        json!({"conversation": find_conversation(&tenant, &a.integration, &from)["id"]})
    } else {
        // Customers cannot reach this account, so the conversation is on the other one.
        json!({"conversation": find_conversation(&tenant, &b.integration, &from)["id"]})
    };
    let mut body = to;
    body["text"] = "which provider?".into();
    let id = tenant.send(&body);
    match condition {
        Condition::Unreachable | Condition::Unauthorized | Condition::RateLimited if receives => {
            let message = tenant.until(&id, "read");
            assert_eq!((a.accepted(), b.accepted()), (0, 1), "{why}: {message}");
            assert_eq!(message["integration"], b.integration.as_str(), "{why}: {message}");
            assert!(has_detail(&message, &format!("handed over to {}", b.integration)), "{why}");
        }
        Condition::AcceptsAndDrops => {
            let message = tenant.until_passed(&id, "unknown");
            // A receipt may later show that it arrived; it must not be sent again until then.
            eventually(&format!("{why}: it arrived"), DEFAULT_TIMEOUT, || {
                if a.accepted() == 1 { Ok(()) } else { Err(message.to_string()) }
            });
            assert_eq!(b.accepted(), 0, "{why}: {message}");
        }
        Condition::Drops => {
            let message = tenant.until(&id, "unknown");
            assert_eq!((a.accepted(), b.accepted()), (0, 0), "{why}: {message}");
        }
        _ => {
            tenant.until(&id, "read");
            assert_eq!((a.accepted(), b.accepted()), (0, 1), "{why}");
        }
    }
}

/// Whether customers reach the hub through an account. An Evolution instance where the hub could
/// not register its webhook sends nothing.
fn receives_messages(provider: Provider, condition: Condition) -> bool {
    provider != Provider::Evolution
        || !matches!(condition, Condition::Unreachable | Condition::Unauthorized)
}

fn provider_name(provider: Provider) -> &'static str {
    match provider {
        Provider::Meta => "whatsapp",
        Provider::Infobip => "infobip",
        Provider::Twilio => "twilio",
        Provider::Evolution => "evolution",
    }
}

/// Checks failover from every provider to every other one.
fn check_every_pair(condition: Condition) {
    let pairs: Vec<(Provider, Provider)> = ALL
        .into_iter()
        .flat_map(|first| ALL.into_iter().map(move |second| (first, second)))
        .filter(|(first, second)| first != second)
        .collect();
    run_concurrently(pairs.len(), |place| {
        let (first, second) = pairs[place];
        check_failover(first, second, condition);
    });
}

#[test]
fn an_unreachable_provider_fails_over() {
    check_every_pair(Condition::Unreachable);
}

#[test]
fn a_provider_that_rejects_the_credentials_fails_over() {
    check_every_pair(Condition::Unauthorized);
}

#[test]
fn a_rate_limited_provider_fails_over_after_the_routing_patience() {
    check_every_pair(Condition::RateLimited);
}

#[test]
fn a_message_accepted_without_a_response_never_fails_over() {
    check_every_pair(Condition::AcceptsAndDrops);
}

#[test]
fn a_message_in_doubt_never_fails_over() {
    check_every_pair(Condition::Drops);
}

#[test]
fn failover_skips_two_failing_providers() {
    let tenant = Tenant::new("third");
    let first = Account::new(&tenant, Provider::Meta, Condition::Unreachable);
    let second = Account::new(&tenant, Provider::Twilio, Condition::Unauthorized);
    let third = Account::new(&tenant, Provider::Infobip, Condition::Healthy);
    let from = person();
    first.writes(&from, "hello");
    second.writes(&from, "hello");
    third.writes(&from, "hello");
    let conversation = find_conversation(&tenant, &first.integration, &from);
    let settings = json!({"whatsapp_provider": "meta", "failover": ["twilio", "infobip"]});
    let path = format!("/tenants/{}/whatsapp-settings", tenant.id);
    let shown = tenant.api.put(&path, &settings).expect(200);
    assert_eq!(shown["failover"][0]["integration"], second.integration.as_str(), "{shown}");
    let id = tenant.send(&json!({"conversation": conversation["id"], "text": "anyone?"}));
    let message = tenant.until(&id, "read");
    let codes = message["history"].as_array().unwrap().iter();
    let codes: Vec<_> = codes.filter_map(|step| step["code"].as_str()).collect();
    assert_eq!(codes, ["no_connection", "20003"], "{message}");
    assert_eq!((second.accepted(), third.accepted()), (0, 1));
    // The health of the account shows the failures.
    let path = format!("/integrations/{}/health?ask=true", first.integration);
    let health = tenant.api.get(&path).expect(200);
    assert_eq!((&health["state"], &health["failures"]), (&json!("closed"), &json!(1)), "{health}");
    assert_eq!(health["account"]["ok"], false, "{health}");
}

#[test]
fn a_provider_that_keeps_failing_opens_the_circuit_and_is_skipped() {
    let tenant = Tenant::new("breaker");
    let first = Account::new(&tenant, Provider::Meta, Condition::Unreachable);
    let second = Account::new(&tenant, Provider::Evolution, Condition::Healthy);
    let settings = json!({"whatsapp_provider": "meta", "failover": ["evolution"]});
    tenant.api.put(&format!("/tenants/{}/whatsapp-settings", tenant.id), &settings).expect(200);
    // Five failures open it.
    for _ in 0..5 {
        let from = person();
        first.writes(&from, "hello");
        let conversation = find_conversation(&tenant, &first.integration, &from);
        let id = tenant.send(&json!({"conversation": conversation["id"], "text": "hi"}));
        tenant.until(&id, "read");
    }
    let path = format!("/integrations/{}/health", first.integration);
    let health = tenant.api.get(&path).expect(200);
    // A probe is due every two seconds.
    assert!(["open", "half_open"].contains(&health["state"].as_str().unwrap()), "{health}");
    assert_eq!(health["last_failure"]["code"], "no_connection", "{health}");
    let conversations: Vec<_> = (0..4)
        .map(|_| {
            let from = person();
            first.writes(&from, "hello");
            find_conversation(&tenant, &first.integration, &from)
        })
        .collect();
    // One of the concurrent messages may be a probe; the others skip the provider.
    let ids: Vec<_> = conversations
        .iter()
        .map(|conversation| tenant.send(&json!({"conversation": conversation["id"], "text": "hi"})))
        .collect();
    let skipped = ids.iter().filter(|id| {
        let message = tenant.until(id, "read");
        let codes = message["history"].as_array().unwrap().iter();
        let codes: Vec<_> = codes.filter_map(|step| step["code"].as_str()).collect();
        assert!(codes == ["circuit_open"] || codes == ["no_connection"], "{message}");
        codes == ["circuit_open"]
    });
    assert!(skipped.count() >= 2);
    assert_eq!(second.accepted(), 9);
}

#[test]
fn an_sms_and_a_call_through_twilio_reach_their_final_status() {
    let tenant = Tenant::new("sms");
    let twilio = Account::new(&tenant, Provider::Twilio, Condition::Healthy);
    let to = format!("+49{}", digits(10));
    let sent = tenant.api.post("/sms/send", &json!({"to": to, "text": "Your table is ready."}));
    let id = sent.expect(202)["id"].as_str().unwrap().to_owned();
    let message = tenant.until(&id, "delivered");
    assert_eq!((&message["channel"], &message["provider"]), (&json!("sms"), &json!("twilio")));
    let twiml = "<Response><Say>Your table is ready.</Say></Response>";
    let made = tenant.api.post("/calls", &json!({"to": to, "twiml": twiml}));
    let id = made.expect(202)["id"].as_str().unwrap().to_owned();
    let call = tenant.until(&id, "delivered");
    assert_eq!((&call["channel"], &call["type"]), (&json!("voice"), &json!("call")));
    assert_eq!(twilio.accepted(), 2);
    // The customer replies in the same conversation.
    let number = twilio.control("customer-writes", &json!({"from": to, "text": "On my way"}));
    assert_eq!(number["webhook_status"], 200, "{number}");
    let conversation = message["conversation"].as_str().unwrap();
    eventually("the reply is in the conversation", DEFAULT_TIMEOUT, || {
        let messages = tenant.messages(conversation);
        let received = messages.iter().any(|message| message["text"] == "On my way");
        if received { Ok(()) } else { Err(format!("{messages:?}")) }
    });
    // Twilio's receipts have no time, so the time of receipt is used.
    let sent = crate::fixtures::step(&tenant.message(&id), "delivered")["at"].clone();
    assert!(!sent.as_str().unwrap().starts_with("1970"), "{sent}");
}

#[test]
fn a_voice_token_is_limited_to_its_identity() {
    let tenant = Tenant::new("voice");
    let none = tenant.api.post("/voice/token", &json!({"identity": "anna"}));
    none.problem(422, "no_integration");
    Account::new(&tenant, Provider::Twilio, Condition::Healthy);
    let made = tenant.api.post("/voice/token", &json!({"identity": "anna", "ttl": 600}));
    let made = made.expect(201);
    let token = made["token"].as_str().unwrap();
    let claims = token.split('.').nth(1).unwrap();
    let claims = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims);
    let claims: Value = serde_json::from_slice(&claims.unwrap()).unwrap();
    assert_eq!(claims["grants"]["identity"], "anna");
    let lifetime = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert_eq!(lifetime, 600);
    assert!(claims["grants"]["voice"].get("outgoing").is_none(), "{claims}");
    assert!(!made.to_string().contains("voice-secret"));
    let long = tenant.api.post("/voice/token", &json!({"identity": "anna", "ttl": 90_000}));
    assert_eq!(long.status, 422);
}
