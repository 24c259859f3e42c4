//! WhatsApp over four providers: in and out over each, and from each to each other when one
//! cannot.

use serde_json::{Value, json};

use crate::cast::{Tenant, person};
use crate::hub::{Client, HUB, SOON, at_once, digits, eventually, random};

/// Who carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Meta,
    Infobip,
    Twilio,
    Evolution,
}

const TWILIO_KEY: &str = "SK00000000000000000000000000000001";

const ALL: [Over; 4] = [Over::Meta, Over::Infobip, Over::Twilio, Over::Evolution];

/// How a carrier is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    /// Nobody listens where it should be.
    Dead,
    /// It does not know the hub's credentials.
    Locked,
    /// It asks for an hour's patience.
    Throttled,
    /// It takes messages, and breaks off before it says so.
    Lying,
    /// It breaks off, and takes nothing.
    Broken,
}

/// An account, at the hub and at the simulator.
struct Carrier {
    integration: String,
    /// The account's place in the control API.
    place: String,
    simulator: Client,
}

impl Carrier {
    fn new(tenant: &Tenant, over: Over, mood: Mood) -> Self {
        // Nobody listens on the discard port.
        let base_url = if mood == Mood::Dead { "http://127.0.0.1:9" } else { &HUB.simulator };
        let name = digits(11);
        let key = format!("key-{name}");
        let known = if mood == Mood::Locked { "another-key" } else { &key };
        let sid = format!("AC{:032x}", random());
        let (provider, settings, credentials, place, account) = match over {
            Over::Meta => (
                "whatsapp",
                json!({"phone_number_id": name, "base_url": base_url}),
                json!({"WHATSAPP_ACCESS_TOKEN": key, "WHATSAPP_APP_SECRET": "secret",
                       "WHATSAPP_WEBHOOK_VERIFY_TOKEN": "verify"}),
                format!("whatsapp/{name}"),
                json!({"token": known, "app_secret": "secret", "verify_token": "verify"}),
            ),
            Over::Infobip => (
                "infobip",
                json!({"account": name, "base_url": base_url}),
                json!({"INFOBIP_API_KEY": key, "INFOBIP_WEBHOOK_SECRET": "hub:password"}),
                format!("infobip/{name}"),
                json!({"api_key": known, "webhook_secret": "hub:password"}),
            ),
            Over::Twilio => (
                "twilio",
                json!({"whatsapp_from": format!("+{name}"), "from": format!("+{name}"),
                       "base_url": base_url}),
                json!({"TWILIO_ACCOUNT_SID": sid, "TWILIO_AUTH_TOKEN": key,
                       "TWILIO_API_KEY": TWILIO_KEY,
                       "TWILIO_API_SECRET": "voice-secret"}),
                format!("twilio/{sid}"),
                // The token also signs what comes in: it is the key to send with that is locked.
                json!({"auth_token": key, "numbers": [format!("+{name}")],
                "whatsapp": [format!("+{name}")],
                "api_keys": if mood == Mood::Locked { json!({}) } else {
                    json!({TWILIO_KEY: "voice-secret"})
                }}),
            ),
            Over::Evolution => (
                "evolution",
                json!({"instance": name, "base_url": base_url}),
                json!({"EVOLUTION_API_KEY": key}),
                format!("evolution/{name}"),
                json!({"token": known, "number": name}),
            ),
        };
        let simulator = Client::simulator();
        let at = format!("/_sim/{place}");
        if over == Over::Evolution {
            // It is told where the hub is as soon as the hub knows it.
            simulator.put(&at, &account).expect(200);
        }
        let wanted = json!({"provider": provider, "settings": settings,
                            "credentials": credentials});
        let made = tenant.api.post("/integrations", &wanted).expect(201);
        let mut account = account;
        let urls = &made["webhook_urls"];
        match over {
            Over::Evolution => {
                let connected = !matches!(mood, Mood::Dead | Mood::Locked);
                assert_eq!(made["connection"]["connected"], connected, "{made}");
            }
            Over::Twilio => {
                account["urls"] = json!({"whatsapp": urls["whatsapp-twilio"], "sms": urls["sms"],
                    "voice": urls["voice"], "sms_status": "", "voice_status": "",
                    "whatsapp_status": ""});
                simulator.put(&at, &account).expect(200);
            }
            Over::Meta | Over::Infobip => {
                account["hub_url"] = made["webhook_url"].clone();
                simulator.put(&at, &account).expect(200);
            }
        }
        let integration = made["id"].as_str().unwrap().to_owned();
        let carrier = Self { integration, place, simulator };
        let often = |mut fault: Value| {
            fault["times"] = json!(1000);
            carrier.control("faults", &json!({"faults": [fault]}));
        };
        match mood {
            Mood::Throttled => often(json!({"kind": "rate_limited", "retry_after_s": 3600})),
            Mood::Lying => often(json!({"kind": "accept_then_drop"})),
            Mood::Broken => often(json!({"kind": "drop"})),
            Mood::Well | Mood::Dead | Mood::Locked => {}
        }
        carrier
    }

    #[track_caller]
    fn control(&self, what: &str, body: &Value) -> Value {
        self.simulator.post(&format!("/_sim/{}/{what}", self.place), body).expect(200)
    }

    /// A person writes; the hub takes it in.
    #[track_caller]
    fn writes(&self, from: &str, text: &str) {
        let (from, channel) = if self.place.starts_with("twilio") {
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

    /// How many messages it took.
    #[track_caller]
    fn accepted(&self) -> u64 {
        let shown = self.simulator.get(&format!("/_sim/{}", self.place)).expect(200);
        shown["accepted"].as_u64().unwrap_or_else(|| panic!("{shown}"))
    }
}

/// The conversation of `tenant`'s with a person over one integration.
#[track_caller]
fn conversation(tenant: &Tenant, integration: &str, person: &str) -> Value {
    eventually(&format!("a conversation over {integration}"), SOON, || {
        let page = tenant.api.get("/conversations?limit=100").expect(200);
        let mut talks = page["conversations"].as_array().unwrap().iter();
        let found = talks.find(|talk| {
            let address = talk["contact"]["address"].as_str().unwrap_or_default();
            talk["integration"] == integration && address.trim_start_matches('+') == person
        });
        found.cloned().ok_or_else(|| page.to_string())
    })
}

/// Whether some step of a message's history says so.
fn tells(message: &Value, words: &str) -> bool {
    let steps = message["history"].as_array().unwrap();
    steps.iter().any(|step| step["detail"].as_str().is_some_and(|said| said.contains(words)))
}

#[test]
fn over_each_provider_people_are_heard_and_answered_and_their_receipts_tell() {
    at_once(ALL.len(), |place| {
        let over = ALL[place];
        let tenant = Tenant::new("carried");
        let carrier = Carrier::new(&tenant, over, Mood::Well);
        let from = person();
        carrier.writes(&from, "hello");
        let talk = conversation(&tenant, &carrier.integration, &from);
        assert_eq!(talk["channel"], "whatsapp", "{over:?}");
        let messages = tenant.messages(talk["id"].as_str().unwrap());
        assert_eq!(messages[0]["text"], "hello", "{over:?}: {messages:?}");
        let id = tenant.send(&json!({"conversation": talk["id"], "text": "hi yourself"}));
        let read = tenant.until(&id, "read");
        assert_eq!(carrier.accepted(), 1, "{over:?} {read}");
        // By number, without a conversation, at the short door.
        let sent = tenant.api.post("/whatsapp/send", &json!({"to": from, "text": "more"}));
        let id = sent.expect(202)["id"].as_str().unwrap().to_owned();
        assert_eq!(tenant.until(&id, "read")["conversation"], talk["id"], "{over:?}");
    });
}

/// One message over a carrier in a mood, with another that is well behind it.
fn from_to(first: Over, second: Over, mood: Mood) {
    let why = format!("{first:?}, {mood:?}, then {second:?}");
    let tenant = Tenant::new("failover");
    let (a, b) = (Carrier::new(&tenant, first, mood), Carrier::new(&tenant, second, Mood::Well));
    let from = person();
    let heard = is_heard(first, mood);
    if heard {
        a.writes(&from, "hello");
    }
    b.writes(&from, "hello there");
    conversation(&tenant, &b.integration, &from);
    let settings = json!({
        "whatsapp_provider": provider(first), "integration": a.integration,
        "failover": [b.integration], "policy": {"patience_seconds": 0}});
    let path = format!("/tenants/{}/whatsapp-settings", tenant.id);
    tenant.api.put(&path, &settings).expect(200);
    let to = if heard {
        json!({"conversation": conversation(&tenant, &a.integration, &from)["id"]})
    } else {
        // Nobody could write to it, so a conversation begins with a template... or, where no
        // window binds, with anything.
        json!({"conversation": conversation(&tenant, &b.integration, &from)["id"]})
    };
    let mut body = to;
    body["text"] = "which way?".into();
    let id = tenant.send(&body);
    match mood {
        Mood::Dead | Mood::Locked | Mood::Throttled if heard => {
            let message = tenant.until(&id, "read");
            assert_eq!((a.accepted(), b.accepted()), (0, 1), "{why}: {message}");
            assert_eq!(message["integration"], b.integration.as_str(), "{why}: {message}");
            assert!(tells(&message, &format!("handed over to {}", b.integration)), "{why}");
        }
        Mood::Lying => {
            let message = tenant.until_passed(&id, "unknown");
            // A receipt may tell later that it arrived; nobody sends it again meanwhile.
            eventually(&format!("{why}: it arrived"), SOON, || {
                if a.accepted() == 1 { Ok(()) } else { Err(message.to_string()) }
            });
            assert_eq!(b.accepted(), 0, "{why}: {message}");
        }
        Mood::Broken => {
            let message = tenant.until(&id, "unknown");
            assert_eq!((a.accepted(), b.accepted()), (0, 0), "{why}: {message}");
        }
        _ => {
            tenant.until(&id, "read");
            assert_eq!((a.accepted(), b.accepted()), (0, 1), "{why}");
        }
    }
}

/// Whether people reach the hub over a carrier: an instance of Evolution that could not be told
/// of the hub tells the hub nothing.
fn is_heard(over: Over, mood: Mood) -> bool {
    over != Over::Evolution || !matches!(mood, Mood::Dead | Mood::Locked)
}

fn provider(over: Over) -> &'static str {
    match over {
        Over::Meta => "whatsapp",
        Over::Infobip => "infobip",
        Over::Twilio => "twilio",
        Over::Evolution => "evolution",
    }
}

/// Every carrier, followed by every other, in one mood.
fn in_every_order(mood: Mood) {
    let pairs: Vec<(Over, Over)> = ALL
        .into_iter()
        .flat_map(|first| ALL.into_iter().map(move |second| (first, second)))
        .filter(|(first, second)| first != second)
        .collect();
    at_once(pairs.len(), |place| {
        let (first, second) = pairs[place];
        from_to(first, second, mood);
    });
}

#[test]
fn from_a_dead_provider_a_message_goes_to_the_next() {
    in_every_order(Mood::Dead);
}

#[test]
fn from_a_provider_that_does_not_know_us_a_message_goes_to_the_next() {
    in_every_order(Mood::Locked);
}

#[test]
fn from_a_throttled_provider_a_message_goes_to_the_next_once_patience_ends() {
    in_every_order(Mood::Throttled);
}

#[test]
fn what_a_provider_took_in_silence_is_never_sent_over_another() {
    in_every_order(Mood::Lying);
}

#[test]
fn what_a_provider_may_have_taken_is_never_sent_over_another() {
    in_every_order(Mood::Broken);
}

#[test]
fn a_dead_first_and_a_locked_second_leave_it_to_the_third() {
    let tenant = Tenant::new("third");
    let first = Carrier::new(&tenant, Over::Meta, Mood::Dead);
    let second = Carrier::new(&tenant, Over::Twilio, Mood::Locked);
    let third = Carrier::new(&tenant, Over::Infobip, Mood::Well);
    let from = person();
    first.writes(&from, "hello");
    second.writes(&from, "hello");
    third.writes(&from, "hello");
    let talk = conversation(&tenant, &first.integration, &from);
    let settings = json!({"whatsapp_provider": "meta", "failover": ["twilio", "infobip"]});
    let path = format!("/tenants/{}/whatsapp-settings", tenant.id);
    let shown = tenant.api.put(&path, &settings).expect(200);
    assert_eq!(shown["failover"][0]["carrier"], second.integration.as_str(), "{shown}");
    let id = tenant.send(&json!({"conversation": talk["id"], "text": "anybody?"}));
    let message = tenant.until(&id, "read");
    let codes = message["history"].as_array().unwrap().iter();
    let codes: Vec<_> = codes.filter_map(|step| step["code"].as_str()).collect();
    assert_eq!(codes, ["no_connection", "20003"], "{message}");
    assert_eq!((second.accepted(), third.accepted()), (0, 1));
    // How they fare is there to see.
    let path = format!("/integrations/{}/health?ask=true", first.integration);
    let health = tenant.api.get(&path).expect(200);
    assert_eq!((&health["state"], &health["failures"]), (&json!("closed"), &json!(1)), "{health}");
    assert_eq!(health["account"]["ok"], false, "{health}");
}

#[test]
fn a_carrier_that_keeps_failing_is_passed_over_and_shown_as_open() {
    let tenant = Tenant::new("breaker");
    let first = Carrier::new(&tenant, Over::Meta, Mood::Dead);
    let second = Carrier::new(&tenant, Over::Evolution, Mood::Well);
    let settings = json!({"whatsapp_provider": "meta", "failover": ["evolution"]});
    tenant.api.put(&format!("/tenants/{}/whatsapp-settings", tenant.id), &settings).expect(200);
    // Five failures open it.
    for _ in 0..5 {
        let from = person();
        first.writes(&from, "hello");
        let talk = conversation(&tenant, &first.integration, &from);
        let id = tenant.send(&json!({"conversation": talk["id"], "text": "hi"}));
        tenant.until(&id, "read");
    }
    let path = format!("/integrations/{}/health", first.integration);
    let health = tenant.api.get(&path).expect(200);
    // Every two seconds it is time for a probe.
    assert!(["open", "half_open"].contains(&health["state"].as_str().unwrap()), "{health}");
    assert_eq!(health["last_failure"]["code"], "no_connection", "{health}");
    let talks: Vec<_> = (0..4)
        .map(|_| {
            let from = person();
            first.writes(&from, "hello");
            conversation(&tenant, &first.integration, &from)
        })
        .collect();
    // Of those that are sent at once one may be a probe; the others do not even ask.
    let ids: Vec<_> = talks
        .iter()
        .map(|talk| tenant.send(&json!({"conversation": talk["id"], "text": "hi"})))
        .collect();
    let passed_over = ids.iter().filter(|id| {
        let message = tenant.until(id, "read");
        let codes = message["history"].as_array().unwrap().iter();
        let codes: Vec<_> = codes.filter_map(|step| step["code"].as_str()).collect();
        assert!(codes == ["circuit_open"] || codes == ["no_connection"], "{message}");
        codes == ["circuit_open"]
    });
    assert!(passed_over.count() >= 2);
    assert_eq!(second.accepted(), 9);
}

#[test]
fn a_text_message_and_a_call_are_made_over_twilio_and_told_how_they_went() {
    let tenant = Tenant::new("sms");
    let twilio = Carrier::new(&tenant, Over::Twilio, Mood::Well);
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
    // Somebody answers the text, in the same conversation.
    let number = twilio.control("customer-writes", &json!({"from": to, "text": "On my way"}));
    assert_eq!(number["webhook_status"], 200, "{number}");
    let talk = message["conversation"].as_str().unwrap();
    eventually("their answer in the conversation", SOON, || {
        let messages = tenant.messages(talk);
        let came = messages.iter().any(|message| message["text"] == "On my way");
        if came { Ok(()) } else { Err(format!("{messages:?}")) }
    });
    // Receipts of Twilio's carry no time: when they came is as good.
    let sent = crate::cast::step(&tenant.message(&id), "delivered")["at"].clone();
    assert!(!sent.as_str().unwrap().starts_with("1970"), "{sent}");
}

#[test]
fn a_voice_client_gets_a_token_for_its_identity_and_no_more() {
    let tenant = Tenant::new("voice");
    let none = tenant.api.post("/voice/token", &json!({"identity": "anna"}));
    none.problem(422, "no_integration");
    Carrier::new(&tenant, Over::Twilio, Mood::Well);
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
