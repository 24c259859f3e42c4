//! Every event of every provider's examples, through the front door and into the record.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::event::{EventKind, InboundEvent};
use domain::webhook::{Delivery, Rejection, WebhookReply, WebhookRequest, receive};
use domain::{Integration, IntegrationId, Provider, TenantId};
use jiff::Timestamp;
use providers::example::{self, Example, Seed};
use serde_json::{Value, json};

use crate::cast::Tenant;
use crate::hub::{Answer, Client, SOON, at_once, eventually, random, request};

/// The accounts of the examples can be held once a hub, so their tenant is the same in every
/// run on one hub.
const TENANT: &str = "every-provider";

/// A key of that tenant.
static TENANTS_OWN: LazyLock<Client> = LazyLock::new(|| {
    let admin = Client::admin();
    let made = admin.post("/tenants", &json!({"id": TENANT, "name": "Every provider"}));
    assert!(matches!(made.status, 201 | 409), "{made}");
    let scopes = json!({"scopes": ["admin", "send", "read"]});
    let key = admin.post(&format!("/tenants/{TENANT}/keys"), &scopes).expect(201);
    Client::with_key(key["key"].as_str().unwrap())
});

/// Integrations that were made: one a provider.
static MADE: Mutex<BTreeMap<Provider, Value>> = Mutex::new(BTreeMap::new());

fn tenant() -> TenantId {
    TENANT.parse().unwrap()
}

/// The integration that takes the examples of `provider`, as the API shows it.
fn made(provider: Provider) -> Value {
    LazyLock::force(&TENANTS_OWN);
    let mut all = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let make = || {
        // By the operator, who is believed whose an account is.
        let answer = Client::admin().post("/integrations", &example::asked(provider, &tenant()));
        if answer.status != 409 {
            return answer.expect(201);
        }
        // By an earlier run on this hub.
        let there = TENANTS_OWN.get("/integrations").expect(200)["integrations"].take();
        let mut there = there.as_array().unwrap().iter();
        let own = there.find(|one| one["provider"] == provider.as_str());
        own.unwrap_or_else(|| panic!("{answer}")).clone()
    };
    all.entry(provider).or_insert_with(make).clone()
}

/// The same, as the hub keeps it.
fn kept(provider: Provider) -> Integration {
    let id = made(provider)["id"].as_str().unwrap().parse::<IntegrationId>().unwrap();
    example::integration(provider, id, tenant()).unwrap()
}

fn url(provider: Provider, example: &Example) -> String {
    let integration = made(provider);
    let url = &integration["webhook_urls"][example.webhook];
    url.as_str().unwrap_or_else(|| panic!("no {}: {integration}", example.webhook)).to_owned()
}

#[expect(clippy::disallowed_methods, reason = "webhooks say when; the hub reads a real clock")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// An example as the provider would send it now.
fn signed(provider: Provider, example: &Example) -> WebhookRequest {
    let seed = Seed { at: now(), nonce: format!("{:016x}{:08x}", random(), random() >> 32) };
    let draft = (example.draft)(&seed);
    example::signed(provider, example, &draft, &url(provider, example), seed.at)
}

fn post(request: &WebhookRequest) -> Answer {
    to(&request.url, request)
}

fn to(url: &str, request: &WebhookRequest) -> Answer {
    let headers: Vec<(&str, &str)> = request
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    self::request(request.method.as_str(), url, &headers, Some(&request.body))
}

/// What the hub is to make of a request.
enum Expected {
    Events(Vec<InboundEvent>),
    Reply(WebhookReply),
}

/// Reads `request` as the edge does; and stands in for the provider where the edge asks it for
/// a certificate.
fn expected(
    provider: Provider,
    example: &Example,
    request: &WebhookRequest,
) -> (Expected, Option<String>) {
    let webhook = example::webhook(provider, example);
    let (whose, credentials) = (kept(provider), (example::of(provider).credentials)());
    let source = webhook.source(&whose, &credentials);
    let mut asked = source.evidence(request).unwrap();
    let name = example.full_name();
    let received = receive(&*source, request, now());
    let expected = match received.unwrap_or_else(|rejection| panic!("{name}: {rejection}")) {
        Delivery::Handshake(reply) => Expected::Reply(reply),
        Delivery::Confirm(address) => {
            asked = asked.or(Some(address));
            Expected::Reply(webhook.accepted())
        }
        Delivery::Events(events) => {
            let stamped = events.into_iter().zip(0..);
            let stamped =
                stamped.map(|(event, place)| example::stamped(event, &whose, now(), place));
            Expected::Events(stamped.collect())
        }
    };
    (expected, asked)
}

/// Held by whoever stands in for a provider's server.
static WITNESS: Mutex<()> = Mutex::new(());

/// Does `work` while `document` can be had at `address`, if that is on this machine.
fn witnessed<T>(address: Option<&str>, document: &[u8], work: impl FnOnce() -> T) -> T {
    let Some(address) = address else { return work() };
    let host = address.strip_prefix("http://").and_then(|rest| rest.split('/').next());
    let host = host.filter(|host| host.starts_with("127.0.0.1:"));
    let host = host.unwrap_or_else(|| panic!("the hub would ask {address}"));
    let _one = WITNESS.lock().unwrap_or_else(PoisonError::into_inner);
    let listener = TcpListener::bind(host).unwrap();
    listener.set_nonblocking(true).unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                match listener.accept() {
                    // A caller that hangs up has had what it wanted.
                    Ok((caller, _)) => give(caller, document).unwrap_or_default(),
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        // The listener must end, however the work does.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn give(mut caller: TcpStream, document: &[u8]) -> std::io::Result<()> {
    caller.set_nonblocking(false)?;
    caller.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut request = [0; 4096];
    let _read = caller.read(&mut request)?;
    let length = document.len();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    caller.write_all(head.as_bytes())?;
    caller.write_all(document)
}

#[track_caller]
fn answers(answer: &Answer, reply: &WebhookReply, name: &str) {
    assert_eq!(answer.status, reply.status.as_u16(), "{name}: {answer}");
    assert_eq!(String::from_utf8_lossy(&answer.bytes), reply.body, "{name}");
    let kind = answer.headers.get("content-type").map(String::as_str);
    assert_eq!(kind, Some(reply.content_type), "{name}");
}

/// Whether the record of events has it: what people write on channels of the hub's own, and
/// what became of answers, stands in conversations.
fn is_recorded(event: &InboundEvent) -> bool {
    event.provider.channels().is_empty() || matches!(event.kind, EventKind::Other { .. })
}

/// The ids of the events of a provider in the record, of all pages.
fn listed(provider: Provider) -> Vec<String> {
    let path = format!("/events?provider={provider}&limit=100");
    let (mut ids, mut next) = (Vec::new(), path.clone());
    loop {
        let page = TENANTS_OWN.get(&next).expect(200);
        let events = page["events"].as_array().unwrap().iter();
        ids.extend(events.map(|event| event["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(cursor) => next = format!("{path}&cursor={cursor}"),
            None => return ids,
        }
    }
}

/// Every example of a provider is accepted and recorded once, though it comes twice.
fn every_event_is_recorded_once(provider: Provider) {
    let mut sent = Vec::new();
    for example in example::of(provider).events {
        let request = signed(provider, example);
        let (expected, asked) = expected(provider, example, &request);
        let document = request.evidence.clone().unwrap_or_default();
        let accepted = example::webhook(provider, example).accepted();
        let name = example.full_name();
        witnessed(asked.as_deref(), &document, || match expected {
            Expected::Reply(reply) => answers(&post(&request), &reply, &name),
            Expected::Events(events) => {
                for _twice in 0..2 {
                    answers(&post(&request), &accepted, &name);
                }
                sent.extend(events.into_iter().filter(is_recorded));
            }
        });
    }
    for event in &sent {
        let id = event.event_id().to_string();
        let shown = eventually(&format!("{provider}'s {} is recorded", event.id), SOON, || {
            let answer = TENANTS_OWN.get(&format!("/events/{id}"));
            if answer.status == 200 { Ok(answer.json()) } else { Err(answer.to_string()) }
        });
        assert_eq!(shown["tenant"], TENANT, "{shown}");
        assert_eq!(shown["provider"], provider.as_str(), "{shown}");
        assert_eq!(shown["provider_event_id"], event.id.as_str(), "{shown}");
        assert_eq!(shown["account"], event.account.as_str(), "{shown}");
        assert_eq!(shown["state"], "recorded", "{shown}");
        if let EventKind::Other { name } = &event.kind {
            assert_eq!(shown["name"], name.as_str(), "{shown}");
        }
        let raw: Value = serde_json::from_str(event.raw.get()).unwrap();
        assert_eq!(shown["raw"], raw, "{provider}: {id}");
    }
    let listed = listed(provider);
    let once: BTreeSet<&String> = listed.iter().collect();
    assert_eq!(once.len(), listed.len(), "{provider}: listed twice");
    for event in &sent {
        assert!(once.contains(&event.event_id().to_string()), "{provider}: {}", event.id);
    }
}

/// A place in a body that is not proved byte for byte, but of which this is.
const PROVED: &[(&str, &str)] = &[("ses", "\"MessageId\":\"")];

/// One changed byte in the body, where the body is proved; else one in what proves it.
fn a_forgery_is_refused(provider: Provider) {
    for example in example::of(provider).events {
        let good = signed(provider, example);
        let name = example.full_name();
        let document = good.evidence.clone().unwrap_or_default();
        let (_, asked) = expected(provider, example, &good);
        let proved = PROVED.iter().find(|(webhook, _)| *webhook == example.webhook);
        let place = if good.body.is_empty() {
            None
        } else if let Some((_, mark)) = proved {
            let body = String::from_utf8_lossy(&good.body);
            body.find(mark).map(|at| at + mark.len())
        } else {
            example::covers_the_body(example.webhook).then_some(good.body.len() / 2)
        };
        if let Some(place) = place {
            let mut body = good.body.to_vec();
            body[place] ^= 1;
            let forged = WebhookRequest { body: body.into(), ..good.clone() };
            witnessed(asked.as_deref(), &document, || {
                let answer = post(&forged);
                assert_eq!(answer.status, 401, "{name}, a byte changed: {answer}");
            });
        }
        // Nothing that proves anything.
        if !good.body.is_empty() && !matches!(example.webhook, "mailgun" | "ses") {
            let kind = good.headers.get("content-type").map(|kind| ("content-type", kind));
            let kind: Vec<_> =
                kind.into_iter().map(|(name, v)| (name, v.to_str().unwrap())).collect();
            let answer = self::request("POST", &good.url, &kind, Some(&good.body));
            assert_eq!(answer.status, 401, "{name}, without a proof: {answer}");
        }
        // Another's integration, or nobody's.
        let (path, query) = good.url.split_once('?').unwrap_or((&good.url, ""));
        let base = path.strip_suffix(made(provider)["id"].as_str().unwrap());
        let base = base.unwrap_or(path).trim_end_matches('/');
        let elsewhere = format!("{base}/int_01J9ZQ4J9T0000000000000000?{query}");
        let answer = to(&elsewhere, &good);
        assert_eq!(answer.status, 401, "{name}, no such integration: {answer}");
    }
}

macro_rules! tests_of {
    ($($(#[$doc:meta])* $variant:ident $name:ident $channels:expr,)*) => {
        $(
            mod $name {
                use domain::Provider;

                #[test]
                fn every_event_is_recorded_once() {
                    super::every_event_is_recorded_once(Provider::$variant);
                }

                #[test]
                fn a_forgery_is_refused() {
                    super::a_forgery_is_refused(Provider::$variant);
                }
            }
        )*
    };
}

domain::for_each_provider!(tests_of);

#[test]
fn there_are_sixty_events_and_more() {
    let count = example::all().count();
    assert!(count >= 60, "{count}");
}

#[test]
fn another_tenant_sees_nothing_of_it() {
    let (provider, example) = (Provider::Stripe, &example::of(Provider::Stripe).events[0]);
    let request = signed(provider, example);
    answers(&post(&request), &example::webhook(provider, example).accepted(), "stripe");
    let (Expected::Events(events), _) = expected(provider, example, &request) else {
        panic!("{} brings no event", example.full_name())
    };
    let path = format!("/events/{}", events[0].event_id());
    eventually("it is recorded", SOON, || {
        let answer = TENANTS_OWN.get(&path);
        if answer.status == 200 { Ok(()) } else { Err(answer.to_string()) }
    });
    let other = Tenant::new("onlooker");
    other.api.get(&path).problem(404, "not_found");
    assert_eq!(other.api.get("/events").expect(200)["events"], json!([]));
    assert_eq!(other.api.post(&format!("{path}/replay"), &json!({})).status, 404);
    assert!(Client::without_key().get(&path).status >= 401);
}

#[test]
fn an_event_that_comes_fifty_times_at_once_is_one() {
    let (provider, example) = (Provider::Stripe, &example::of(Provider::Stripe).events[0]);
    let request = signed(provider, example);
    let statuses = at_once(10, |_| (0..5).map(|_| post(&request).status).collect::<Vec<_>>());
    assert!(statuses.concat().iter().all(|status| *status == 200), "{statuses:?}");
    let (Expected::Events(events), _) = expected(provider, example, &request) else {
        panic!("{} brings no event", example.full_name())
    };
    let id = events[0].event_id().to_string();
    eventually("it is recorded", SOON, || {
        let count = listed(provider).iter().filter(|one| **one == id).count();
        if count == 1 { Ok(()) } else { Err(format!("{count} times")) }
    });
}

#[test]
fn an_event_is_worked_again_when_that_is_asked() {
    let (provider, example) = (Provider::Shopify, &example::of(Provider::Shopify).events[0]);
    let from = now();
    let request = signed(provider, example);
    let (Expected::Events(events), _) = expected(provider, example, &request) else {
        panic!("{} brings no event", example.full_name())
    };
    answers(&post(&request), &example::webhook(provider, example).accepted(), "shopify");
    let path = format!("/events/{}", events[0].event_id());
    let replays = |wanted: u64| {
        eventually(&format!("{wanted} replays"), SOON, || {
            let answer = TENANTS_OWN.get(&path);
            let count = answer.json()["replays"].as_u64();
            if count == Some(wanted) { Ok(()) } else { Err(answer.to_string()) }
        });
    };
    replays(0);
    let asked = TENANTS_OWN.post(&format!("{path}/replay"), &json!({})).expect(202);
    assert_eq!(asked["status"], "queued", "{asked}");
    replays(1);

    // All of them since then, first counted and then worked.
    let to = now();
    let span = |dry_run: bool| {
        json!({"provider": "shopify", "from": from.to_string(), "to": to.to_string(),
               "dry_run": dry_run})
    };
    let counted = TENANTS_OWN.post("/events/replay", &span(true)).expect(202);
    let matched = counted["matched"].as_u64().unwrap();
    assert!(matched >= 1, "{counted}");
    let begun = TENANTS_OWN.post("/events/replay", &span(false)).expect(202);
    let progress = format!("/events/replays/{}", begun["replay"].as_str().unwrap());
    eventually("the replay is done", SOON, || {
        let answer = TENANTS_OWN.get(&progress);
        let done = answer.json();
        let all = done["published"].as_u64() == Some(matched);
        if done["status"] == "done" && all { Ok(()) } else { Err(answer.to_string()) }
    });
    replays(2);
    assert_eq!(TENANTS_OWN.get(&path).expect(200)["last_replay"]["replay"], begun["replay"]);
}

#[test]
fn a_program_of_the_tenants_own_brings_a_message() {
    let id = format!("message-{:016x}", random());
    let message = json!({"from": "+4915550009999", "to": "reception", "message_id": id,
        "message": {"text": "Hello! Are you open today?"}, "timestamp": now().to_string()});
    let taken = TENANTS_OWN.post("/webhook/inbound", &message).expect(202);
    let again = TENANTS_OWN.post("/webhook/inbound", &message).expect(202);
    assert_eq!(taken, again);
    let path = format!("/events/{}", taken["event_id"].as_str().unwrap());
    let shown = eventually("it is recorded", SOON, || {
        let answer = TENANTS_OWN.get(&path);
        if answer.status == 200 { Ok(answer.json()) } else { Err(answer.to_string()) }
    });
    assert_eq!((&shown["provider"], &shown["kind"]), (&json!("custom"), &json!("message")));
    assert_eq!(shown["provider_event_id"], id.as_str());

    let mut foreign = message.clone();
    foreign["tenant_id"] = "demo".into();
    assert_eq!(TENANTS_OWN.post("/webhook/inbound", &foreign).status, 403);
    let mut nobodys = message.clone();
    nobodys["tenant_id"] = "nobody-at-all".into();
    Client::admin().post("/webhook/inbound", &nobodys).problem(404, "not_found");
    let mut empty = message;
    empty["message"] = json!({});
    assert_eq!(TENANTS_OWN.post("/webhook/inbound", &empty).status, 422);
    assert_eq!(Client::without_key().post("/webhook/inbound", &empty).status, 401);
}

/// What proves a body to a custom webhook: a header and its value.
type Proof = fn(&str, &[u8]) -> Vec<(&'static str, String)>;

fn hmac(secret: &str, body: &[u8]) -> Vec<(&'static str, String)> {
    let tag = providers::signature::hmac_sha256(secret.as_bytes(), &[body]);
    vec![("x-hub-proof", format!("v0={}", STANDARD.encode(tag)))]
}

fn bearer(secret: &str, _: &[u8]) -> Vec<(&'static str, String)> {
    vec![("authorization", format!("Bearer {secret}"))]
}

fn header(secret: &str, _: &[u8]) -> Vec<(&'static str, String)> {
    vec![("x-secret", secret.to_owned())]
}

fn basic(secret: &str, _: &[u8]) -> Vec<(&'static str, String)> {
    vec![("authorization", format!("Basic {}", STANDARD.encode(secret)))]
}

fn standard(secret: &str, body: &[u8]) -> Vec<(&'static str, String)> {
    let (id, at) = ("msg_1", now());
    let signature = providers::standard_webhooks::sign(&[secret.into()], id, at, body);
    vec![
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", at.as_second().to_string()),
        ("webhook-signature", signature.unwrap()),
    ]
}

#[test]
fn every_custom_scheme_takes_what_it_proves_and_nothing_else() {
    let tenant = Tenant::new("schemes");
    let signed = json!({"type": "hmac", "header": "X-Hub-Proof", "encoding": "base64",
                        "prefix": "v0="});
    let (key, other) = (STANDARD.encode([7; 32]), STANDARD.encode([8; 32]));
    let (key, other) = (format!("whsec_{key}"), format!("whsec_{other}"));
    let schemes: [(&Value, &str, &str, Proof); 5] = [
        (&signed, "a-secret-of-tests", "another-secret", hmac),
        (&json!({"type": "bearer"}), "a-token-of-tests", "another-token", bearer),
        (&json!({"type": "header", "name": "X-Secret"}), "a-secret-of-tests", "another", header),
        (&json!({"type": "basic"}), "hub:a-password", "hub:another-password", basic),
        (&json!({"type": "standard_webhooks"}), &key, &other, standard),
    ];
    for (place, (scheme, secret, wrong, proof)) in schemes.into_iter().enumerate() {
        let settings = json!({"scheme": scheme, "event": {"id": "/id", "name": "/what"}});
        let asked = json!({"provider": "custom", "settings": settings,
                           "credentials": {"CUSTOM_WEBHOOK_SECRET": secret}});
        let made = tenant.api.post("/integrations", &asked).expect(201);
        let url = made["webhook_url"].as_str().unwrap();
        let id = format!("of-scheme-{place}");
        let body = json!({"id": id, "what": "tested"}).to_string();
        let call = |secret: &str| {
            let proof = proof(secret, body.as_bytes());
            let headers = proof.iter().map(|(name, value)| (*name, value.as_str()));
            let json = [("content-type", "application/json")];
            let headers: Vec<_> = headers.chain(json).collect();
            request("POST", url, &headers, Some(body.as_bytes()))
        };
        assert_eq!(call(wrong).status, 401, "{scheme}");
        assert_eq!(call(secret).status, 200, "{scheme}");
        assert_eq!(call(secret).status, 200, "{scheme}");
        let bare = request("POST", url, &[], Some(body.as_bytes()));
        assert_eq!(bare.status, 401, "{scheme}");
    }
    let all = eventually("one event a scheme", SOON, || {
        let page = tenant.api.get("/events?provider=custom&name=tested").expect(200);
        let events = page["events"].as_array().unwrap().clone();
        if events.len() == 5 { Ok(events) } else { Err(page.to_string()) }
    });
    let ids: BTreeSet<_> = all.iter().map(|event| event["provider_event_id"].to_string()).collect();
    assert_eq!(ids.len(), 5, "{all:?}");
}

/// The bodies of the vectors that providers published, where they are accepted.
fn published(provider: Provider) -> Vec<(String, example::Draft)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/providers");
    let file = match provider {
        Provider::Whatsapp => "tests/vectors/meta.json".to_owned(),
        Provider::Telegram => "tests/vectors/telegram.json".to_owned(),
        other => format!("src/{other}/vectors.json"),
    };
    let file: Value = serde_json::from_slice(&std::fs::read(root.join(file)).unwrap()).unwrap();
    let lists = ["vectors", "cases", "requests"].into_iter().filter_map(|name| file.get(name));
    let list = lists.chain([&file]).find_map(Value::as_array).unwrap();
    let is_accepted = |vector: &&Value| {
        vector.get("accept").or_else(|| vector.get("accepted")) == Some(&Value::Bool(true))
    };
    let mut bodies = Vec::new();
    for (place, vector) in list.iter().enumerate().filter(|(_, vector)| is_accepted(vector)) {
        let body = vector.get("body").or_else(|| file.get("body")).and_then(Value::as_str);
        let Some(body) = body.filter(|body| !body.is_empty()) else { continue };
        let body = match serde_json::from_str(body) {
            // Whose proof stands in the body, or in an address made from it.
            Ok(json) if matches!(provider, Provider::Mailgun | Provider::Twilio) => {
                example::Body::Json(json)
            }
            Ok(Value::Object(mut json)) if provider == Provider::Ses => {
                // Lambda's spelling of a field that the signer writes.
                json.remove("SigningCertUrl");
                let host = providers::ses::example::CERTIFICATE_HOST;
                if let Some(address) = json.get_mut("SubscribeURL") {
                    *address = format!("http://{host}/?Action=ConfirmSubscription").into();
                }
                example::Body::Json(json.into())
            }
            Ok(_) => example::Body::Written(body.to_owned().into()),
            Err(_) if body.starts_with("--") => continue,
            Err(_) => {
                let mut fields = providers::form::decode(body.as_bytes());
                let proof = ["timestamp", "token", "signature"];
                fields.retain(|(name, _)| !proof.contains(&name.as_str()));
                example::Body::Form(fields)
            }
        };
        let name = ["id", "name", "what"].into_iter().find_map(|name| vector[name].as_str());
        let name = format!("{provider}, vector {place}: {}", name.unwrap_or_default());
        bodies.push((name, example::Draft::posted(body)));
    }
    bodies
}

#[test]
fn every_published_body_is_taken_when_it_is_signed_anew() {
    let mut taken = BTreeMap::new();
    let of = |provider: &&Provider| **provider != Provider::Custom;
    for provider in Provider::ALL.iter().copied().filter(|provider| of(&provider)) {
        let events = example::of(provider).events.iter();
        let like =
            *events.clone().find(|one| (one.draft)(&Seed::fixed("like")).method == "POST").unwrap();
        for (name, draft) in published(provider) {
            let mut draft = draft;
            // Some say in headers what it is about.
            draft.headers = (like.draft)(&Seed::fixed(&name)).headers;
            if matches!(draft.body, example::Body::Form(_)) {
                draft.headers.remove("content-type");
            }
            let request = example::signed(provider, &like, &draft, &url(provider, &like), now());
            let webhook = example::webhook(provider, &like);
            let source = webhook.source(&kept(provider), &(example::of(provider).credentials)());
            let asked = source.evidence(&request).unwrap();
            let (status, asked) = match receive(&*source, &request, now()) {
                // Parked, if it is nobody's or not to be read.
                Ok(Delivery::Events(_)) | Err(Rejection::Unreadable(_)) => {
                    (webhook.accepted().status, asked)
                }
                Ok(Delivery::Confirm(address)) => {
                    (webhook.accepted().status, asked.or(Some(address)))
                }
                Ok(Delivery::Handshake(reply)) => (reply.status, asked),
                // Authentic, and says nothing of ours: who is asked to mend it hears so.
                Err(Rejection::Invalid(_)) => (http::StatusCode::BAD_REQUEST, asked),
                Err(rejection) => panic!("{name}: {rejection}"),
            };
            let document = request.evidence.clone().unwrap_or_default();
            let answer = witnessed(asked.as_deref(), &document, || post(&request));
            assert_eq!(answer.status, status.as_u16(), "{name}: {answer}");
            *taken.entry(provider).or_insert(0) += 1;
        }
    }
    assert!(taken.len() >= 14 && taken.values().sum::<i32>() >= 80, "{taken:?}");
}
