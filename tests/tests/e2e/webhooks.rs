//! Webhooks of every provider: each event of the examples is sent to the hub and recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::event::{EventKind, InboundEvent};
use domain::webhook::{ParsedWebhook, Rejection, WebhookReply, WebhookRequest, receive};
use domain::{Integration, IntegrationId, Provider, TenantId};
use jiff::Timestamp;
use providers::example::{self, Example, Seed};
use serde_json::{Value, json};

use crate::fixtures::Tenant;
use crate::hub::{Answer, Client, DEFAULT_TIMEOUT, eventually, random, request, run_concurrently};

/// Tenant of the examples. Their accounts can be claimed once per hub, so all runs on one hub share
/// it.
const TENANT: &str = "every-provider";

/// Client with a key of that tenant.
static TENANT_API: LazyLock<Client> = LazyLock::new(|| {
    let admin = Client::admin();
    let made = admin.post("/tenants", &json!({"id": TENANT, "name": "Every provider"}));
    assert!(matches!(made.status, 201 | 409), "{made}");
    let scopes = json!({"scopes": ["admin", "send", "read"]});
    let key = admin.post(&format!("/tenants/{TENANT}/keys"), &scopes).expect(201);
    Client::with_key(key["key"].as_str().unwrap())
});

/// Integrations by provider.
static MADE: Mutex<BTreeMap<Provider, Value>> = Mutex::new(BTreeMap::new());

fn tenant() -> TenantId {
    TENANT.parse().unwrap()
}

/// Returns the integration for the examples of `provider`, as the API shows it. Creates it if
/// needed.
fn made(provider: Provider) -> Value {
    LazyLock::force(&TENANT_API);
    let mut all = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let make = || {
        // Created by the operator, whose claim to an account is trusted.
        let answer =
            Client::admin().post("/integrations", &example::creation_request(provider, &tenant()));
        if answer.status != 409 {
            return answer.expect(201);
        }
        // Created by an earlier run on this hub.
        let listed = TENANT_API.get("/integrations").expect(200)["integrations"].take();
        let mut listed = listed.as_array().unwrap().iter();
        let own = listed.find(|one| one["provider"] == provider.as_str());
        own.unwrap_or_else(|| panic!("{answer}")).clone()
    };
    all.entry(provider).or_insert_with(make).clone()
}

/// Returns the same integration as the hub's type.
fn integration(provider: Provider) -> Integration {
    let id = made(provider)["id"].as_str().unwrap().parse::<IntegrationId>().unwrap();
    example::integration(provider, id, tenant()).unwrap()
}

fn url(provider: Provider, example: &Example) -> String {
    let integration = made(provider);
    let url = &integration["webhook_urls"][example.webhook];
    url.as_str().unwrap_or_else(|| panic!("no {}: {integration}", example.webhook)).to_owned()
}

#[expect(clippy::disallowed_methods, reason = "signed webhooks need the hub's real clock")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// An example, signed by the provider at the current time.
fn signed(provider: Provider, example: &Example) -> WebhookRequest {
    let seed = Seed { at: now(), nonce: format!("{:016x}{:08x}", random(), random() >> 32) };
    let draft = (example.draft)(&seed);
    example::signed(provider, example, &draft, &url(provider, example), seed.at)
}

fn post(request: &WebhookRequest) -> Answer {
    to(&request.url, request)
}

/// Sends a webhook as a provider does: once more after a 5xx. A function that always fails still
/// fails the test; one that this machine held for longer than the function's timeout does not.
#[expect(clippy::print_stderr, reason = "a test that passes must not hide the first answer")]
fn to(url: &str, request: &WebhookRequest) -> Answer {
    let headers: Vec<(&str, &str)> = request
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    let send = || self::request(request.method.as_str(), url, &headers, Some(&request.body));
    let answer = send();
    if answer.status < 500 {
        return answer;
    }
    eprintln!("sent once more after {answer}");
    send()
}

/// The expected result of a request.
enum Expected {
    Events(Vec<InboundEvent>),
    Reply(WebhookReply),
}

/// Parses `request` like the webhook function. Also returns the URL of the document, such as a
/// certificate, that the function fetches to verify it.
fn expected(
    provider: Provider,
    example: &Example,
    request: &WebhookRequest,
) -> (Expected, Option<String>) {
    let webhook = example::webhook(provider, example);
    let (integration, credentials) = (integration(provider), (example::of(provider).credentials)());
    let source = webhook.source(&integration, &credentials);
    let mut certificate_url = source.signing_certificate_url(request).unwrap();
    let name = example.full_name();
    let received = receive(&*source, request, now());
    let expected = match received.unwrap_or_else(|rejection| panic!("{name}: {rejection}")) {
        ParsedWebhook::Handshake(reply) => Expected::Reply(reply),
        ParsedWebhook::Confirm(address) => {
            certificate_url = certificate_url.or(Some(address));
            Expected::Reply(webhook.accepted())
        }
        ParsedWebhook::Events(events) => {
            let into_inbound_event = events.into_iter().zip(0..);
            let into_inbound_event = into_inbound_event.map(|(event, place)| {
                example::into_inbound_event(event, &integration, now(), place)
            });
            Expected::Events(into_inbound_event.collect())
        }
    };
    (expected, certificate_url)
}

/// Held while a test serves a provider's document.
static EVIDENCE_SERVER: Mutex<()> = Mutex::new(());

/// Runs `work` while `document` is served at `address`, which must be on loopback.
fn with_evidence<T>(address: Option<&str>, document: &[u8], work: impl FnOnce() -> T) -> T {
    let Some(address) = address else { return work() };
    let host = address.strip_prefix("http://").and_then(|rest| rest.split('/').next());
    let host = host.filter(|host| host.starts_with("127.0.0.1:"));
    let host = host.unwrap_or_else(|| panic!("the hub would fetch {address}"));
    let _one = EVIDENCE_SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    let listener = TcpListener::bind(host).unwrap();
    listener.set_nonblocking(true).unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                match listener.accept() {
                    // A client that disconnects early needs no response.
                    Ok((client, _)) => respond(client, document).unwrap_or_default(),
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        // Stop the server even if `work` panics.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn respond(mut client: TcpStream, document: &[u8]) -> std::io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut request = [0; 4096];
    let _read = client.read(&mut request)?;
    let length = document.len();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    client.write_all(head.as_bytes())?;
    client.write_all(document)
}

#[track_caller]
fn assert_reply(answer: &Answer, reply: &WebhookReply, name: &str) {
    assert_eq!(answer.status, reply.status.as_u16(), "{name}: {answer}");
    assert_eq!(String::from_utf8_lossy(&answer.bytes), reply.body, "{name}");
    let kind = answer.headers.get("content-type").map(String::as_str);
    assert_eq!(kind, Some(reply.content_type), "{name}");
}

/// Whether an event is in the event log. Messages and statuses of the hub's own channels are in
/// conversations instead.
fn is_recorded(event: &InboundEvent) -> bool {
    event.provider.channels().is_empty() || matches!(event.kind, EventKind::Other { .. })
}

/// Returns the ids of all recorded events of a provider.
fn listed(provider: Provider) -> Vec<String> {
    let path = format!("/events?provider={provider}&limit=100");
    let (mut ids, mut next) = (Vec::new(), path.clone());
    loop {
        let page = TENANT_API.get(&next).expect(200);
        let events = page["events"].as_array().unwrap().iter();
        ids.extend(events.map(|event| event["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(cursor) => next = format!("{path}&cursor={cursor}"),
            None => return ids,
        }
    }
}

/// Sends every example of a provider twice, and checks that each event is recorded once.
fn every_event_is_recorded_once(provider: Provider) {
    let mut sent = Vec::new();
    for example in example::of(provider).events {
        let request = signed(provider, example);
        let (expected, certificate_url) = expected(provider, example, &request);
        let document = request.signing_certificate.clone().unwrap_or_default();
        let accepted = example::webhook(provider, example).accepted();
        let name = example.full_name();
        with_evidence(certificate_url.as_deref(), &document, || match expected {
            Expected::Reply(reply) => assert_reply(&post(&request), &reply, &name),
            Expected::Events(events) => {
                for _twice in 0..2 {
                    assert_reply(&post(&request), &accepted, &name);
                }
                sent.extend(events.into_iter().filter(is_recorded));
            }
        });
    }
    for event in &sent {
        let id = event.event_id().to_string();
        let shown =
            eventually(&format!("{provider}'s {} is recorded", event.id), DEFAULT_TIMEOUT, || {
                let answer = TENANT_API.get(&format!("/events/{id}"));
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
    let ids = listed(provider);
    let unique: BTreeSet<&String> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len(), "{provider}: listed twice");
    for event in &sent {
        assert!(unique.contains(&event.event_id().to_string()), "{provider}: {}", event.id);
    }
}

/// Text before a signed field, for webhooks whose signature does not cover the whole body.
const SIGNED_FIELD: &[(&str, &str)] = &[("ses", "\"MessageId\":\"")];

/// Changes one byte of the signed part of the body, or removes the signature, and expects 401.
fn a_forgery_is_refused(provider: Provider) {
    for example in example::of(provider).events {
        let good = signed(provider, example);
        let name = example.full_name();
        let document = good.signing_certificate.clone().unwrap_or_default();
        let (_, certificate_url) = expected(provider, example, &good);
        let signed_field = SIGNED_FIELD.iter().find(|(webhook, _)| *webhook == example.webhook);
        let position = if good.body.is_empty() {
            None
        } else if let Some((_, mark)) = signed_field {
            let body = String::from_utf8_lossy(&good.body);
            body.find(mark).map(|at| at + mark.len())
        } else {
            example::authenticates_body(example.webhook).then_some(good.body.len() / 2)
        };
        if let Some(position) = position {
            let mut body = good.body.to_vec();
            body[position] ^= 1;
            let forged = WebhookRequest { body: body.into(), ..good.clone() };
            with_evidence(certificate_url.as_deref(), &document, || {
                let answer = post(&forged);
                assert_eq!(answer.status, 401, "{name}, a byte changed: {answer}");
            });
        }
        // Without the headers that carry the signature.
        if !good.body.is_empty() && !matches!(example.webhook, "mailgun" | "ses") {
            let kind = good.headers.get("content-type").map(|kind| ("content-type", kind));
            let kind: Vec<_> =
                kind.into_iter().map(|(name, v)| (name, v.to_str().unwrap())).collect();
            let answer = self::request("POST", &good.url, &kind, Some(&good.body));
            assert_eq!(answer.status, 401, "{name}, without a signature: {answer}");
        }
        // An integration that does not exist.
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
fn there_are_at_least_sixty_events() {
    let count = example::all().count();
    assert!(count >= 60, "{count}");
}

#[test]
fn another_tenant_cannot_read_or_replay_an_event() {
    let (provider, example) = (Provider::Stripe, &example::of(Provider::Stripe).events[0]);
    let request = signed(provider, example);
    assert_reply(&post(&request), &example::webhook(provider, example).accepted(), "stripe");
    let (Expected::Events(events), _) = expected(provider, example, &request) else {
        panic!("{} brings no event", example.full_name())
    };
    let path = format!("/events/{}", events[0].event_id());
    eventually("it is recorded", DEFAULT_TIMEOUT, || {
        let answer = TENANT_API.get(&path);
        if answer.status == 200 { Ok(()) } else { Err(answer.to_string()) }
    });
    let other = Tenant::new("onlooker");
    other.api.get(&path).problem(404, "not_found");
    assert_eq!(other.api.get("/events").expect(200)["events"], json!([]));
    assert_eq!(other.api.post(&format!("{path}/replay"), &json!({})).status, 404);
    assert!(Client::without_key().get(&path).status >= 401);
}

#[test]
fn an_event_received_fifty_times_concurrently_is_recorded_once() {
    let (provider, example) = (Provider::Stripe, &example::of(Provider::Stripe).events[0]);
    let request = signed(provider, example);
    let statuses =
        run_concurrently(10, |_| (0..5).map(|_| post(&request).status).collect::<Vec<_>>());
    assert!(statuses.concat().iter().all(|status| *status == 200), "{statuses:?}");
    let (Expected::Events(events), _) = expected(provider, example, &request) else {
        panic!("{} brings no event", example.full_name())
    };
    let id = events[0].event_id().to_string();
    eventually("it is recorded", DEFAULT_TIMEOUT, || {
        let count = listed(provider).iter().filter(|one| **one == id).count();
        if count == 1 { Ok(()) } else { Err(format!("{count} times")) }
    });
}

#[test]
fn an_event_can_be_replayed_alone_and_in_bulk() {
    let (provider, example) = (Provider::Shopify, &example::of(Provider::Shopify).events[0]);
    let from = now();
    let request = signed(provider, example);
    let (Expected::Events(events), _) = expected(provider, example, &request) else {
        panic!("{} brings no event", example.full_name())
    };
    assert_reply(&post(&request), &example::webhook(provider, example).accepted(), "shopify");
    let path = format!("/events/{}", events[0].event_id());
    let replays = |wanted: u64| {
        eventually(&format!("{wanted} replays"), DEFAULT_TIMEOUT, || {
            let answer = TENANT_API.get(&path);
            let count = answer.json()["replays"].as_u64();
            if count == Some(wanted) { Ok(()) } else { Err(answer.to_string()) }
        });
    };
    replays(0);
    let replay = TENANT_API.post(&format!("{path}/replay"), &json!({})).expect(202);
    assert_eq!(replay["status"], "queued", "{replay}");
    replays(1);

    // A bulk replay of the time range: first a dry run, then for real.
    let to = now();
    let span = |dry_run: bool| {
        json!({"provider": "shopify", "from": from.to_string(), "to": to.to_string(),
               "dry_run": dry_run})
    };
    let counted = TENANT_API.post("/events/replay", &span(true)).expect(202);
    let matched = counted["matched"].as_u64().unwrap();
    assert!(matched >= 1, "{counted}");
    let begun = TENANT_API.post("/events/replay", &span(false)).expect(202);
    let progress = format!("/events/replays/{}", begun["replay"].as_str().unwrap());
    eventually("the replay is done", DEFAULT_TIMEOUT, || {
        let answer = TENANT_API.get(&progress);
        let done = answer.json();
        let all = done["published"].as_u64() == Some(matched);
        if done["status"] == "done" && all { Ok(()) } else { Err(answer.to_string()) }
    });
    replays(2);
    assert_eq!(TENANT_API.get(&path).expect(200)["last_replay"]["replay"], begun["replay"]);
}

#[test]
fn a_message_can_be_ingested_through_the_api() {
    let id = format!("message-{:016x}", random());
    let message = json!({"from": "+4915550009999", "to": "reception", "message_id": id,
        "message": {"text": "Hello! Are you open today?"}, "timestamp": now().to_string()});
    let accepted = TENANT_API.post("/webhook/inbound", &message).expect(202);
    let again = TENANT_API.post("/webhook/inbound", &message).expect(202);
    assert_eq!(accepted, again);
    let path = format!("/events/{}", accepted["event_id"].as_str().unwrap());
    let shown = eventually("it is recorded", DEFAULT_TIMEOUT, || {
        let answer = TENANT_API.get(&path);
        if answer.status == 200 { Ok(answer.json()) } else { Err(answer.to_string()) }
    });
    assert_eq!((&shown["provider"], &shown["kind"]), (&json!("custom"), &json!("message")));
    assert_eq!(shown["provider_event_id"], id.as_str());

    let mut foreign = message.clone();
    foreign["tenant_id"] = "demo".into();
    assert_eq!(TENANT_API.post("/webhook/inbound", &foreign).status, 403);
    let mut unknown = message.clone();
    unknown["tenant_id"] = "unknown-tenant".into();
    Client::admin().post("/webhook/inbound", &unknown).problem(404, "not_found");
    let mut empty = message;
    empty["message"] = json!({});
    assert_eq!(TENANT_API.post("/webhook/inbound", &empty).status, 422);
    assert_eq!(Client::without_key().post("/webhook/inbound", &empty).status, 401);
}

/// Returns the headers that sign a body for a custom webhook.
type Sign = fn(&str, &[u8]) -> Vec<(&'static str, String)>;

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
fn every_custom_scheme_accepts_only_its_own_signature() {
    let tenant = Tenant::new("schemes");
    let signed = json!({"type": "hmac", "header": "X-Hub-Proof", "encoding": "base64",
                        "prefix": "v0="});
    let (key, other) = (STANDARD.encode([7; 32]), STANDARD.encode([8; 32]));
    let (key, other) = (format!("whsec_{key}"), format!("whsec_{other}"));
    let schemes: [(&Value, &str, &str, Sign); 5] = [
        (&signed, "a-secret-of-tests", "another-secret", hmac),
        (&json!({"type": "bearer"}), "a-token-of-tests", "another-token", bearer),
        (&json!({"type": "header", "name": "X-Secret"}), "a-secret-of-tests", "another", header),
        (&json!({"type": "basic"}), "hub:a-password", "hub:another-password", basic),
        (&json!({"type": "standard_webhooks"}), &key, &other, standard),
    ];
    for (place, (scheme, secret, wrong, sign)) in schemes.into_iter().enumerate() {
        let settings = json!({"scheme": scheme, "event": {"id": "/id", "name": "/what"}});
        let request_body = json!({"provider": "custom", "settings": settings,
                           "credentials": {"CUSTOM_WEBHOOK_SECRET": secret}});
        let made = tenant.api.post("/integrations", &request_body).expect(201);
        let url = made["webhook_url"].as_str().unwrap();
        let id = format!("of-scheme-{place}");
        let body = json!({"id": id, "what": "tested"}).to_string();
        let call = |secret: &str| {
            let signed = sign(secret, body.as_bytes());
            let headers = signed.iter().map(|(name, value)| (*name, value.as_str()));
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
    let all = eventually("one event for each scheme", DEFAULT_TIMEOUT, || {
        let page = tenant.api.get("/events?provider=custom&name=tested").expect(200);
        let events = page["events"].as_array().unwrap().clone();
        if events.len() == 5 { Ok(events) } else { Err(page.to_string()) }
    });
    let ids: BTreeSet<_> = all.iter().map(|event| event["provider_event_id"].to_string()).collect();
    assert_eq!(ids.len(), 5, "{all:?}");
}

/// Returns the bodies of the providers' published test vectors that are accepted.
fn published(provider: Provider) -> Vec<(String, example::Draft)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/providers");
    let file = match provider {
        Provider::WhatsappCloud => "tests/vectors/meta.json".to_owned(),
        Provider::Telegram => "tests/vectors/telegram.json".to_owned(),
        other => format!("src/{other}/vectors.json"),
    };
    let file: Value = serde_json::from_slice(&std::fs::read(root.join(file)).unwrap()).unwrap();
    let list = file.get("vectors").unwrap_or(&file).as_array().unwrap();
    let is_accepted = |vector: &&Value| vector["accepted"] == true;
    let mut bodies = Vec::new();
    for (place, vector) in list.iter().enumerate().filter(|(_, vector)| is_accepted(vector)) {
        let body = vector.get("body").or_else(|| file.get("body")).and_then(Value::as_str);
        let Some(body) = body.filter(|body| !body.is_empty()) else { continue };
        let body = match serde_json::from_str(body) {
            // The signature is in the body, or in a URL built from it.
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
                let signature = ["timestamp", "token", "signature"];
                fields.retain(|(name, _)| !signature.contains(&name.as_str()));
                example::Body::Form(fields)
            }
        };
        let name = format!("{provider}, vector {place}: {}", vector["name"]);
        bodies.push((name, example::Draft::posted(body)));
    }
    bodies
}

#[test]
fn every_published_body_is_accepted_when_it_is_signed_again() {
    let mut accepted = BTreeMap::new();
    let of = |provider: &&Provider| **provider != Provider::Custom;
    for provider in Provider::ALL.iter().copied().filter(|provider| of(&provider)) {
        let events = example::of(provider).events.iter();
        let like =
            *events.clone().find(|one| (one.draft)(&Seed::fixed("like")).method == "POST").unwrap();
        for (name, draft) in published(provider) {
            let mut draft = draft;
            // Some providers name the event type in a header.
            draft.headers = (like.draft)(&Seed::fixed(&name)).headers;
            if matches!(draft.body, example::Body::Form(_)) {
                draft.headers.remove("content-type");
            }
            let request = example::signed(provider, &like, &draft, &url(provider, &like), now());
            let webhook = example::webhook(provider, &like);
            let credentials = (example::of(provider).credentials)();
            let source = webhook.source(&integration(provider), &credentials);
            let certificate_url = source.signing_certificate_url(&request).unwrap();
            let (status, certificate_url) = match receive(&*source, &request, now()) {
                // Parked if it matches no account or cannot be parsed.
                Ok(ParsedWebhook::Events(_)) | Err(Rejection::Unreadable(_)) => {
                    (webhook.accepted().status, certificate_url)
                }
                Ok(ParsedWebhook::Confirm(address)) => {
                    (webhook.accepted().status, certificate_url.or(Some(address)))
                }
                Ok(ParsedWebhook::Handshake(reply)) => (reply.status, certificate_url),
                // Verified, but invalid: the sender gets the reason.
                Err(Rejection::Invalid(_)) => (http::StatusCode::BAD_REQUEST, certificate_url),
                Err(rejection) => panic!("{name}: {rejection}"),
            };
            let document = request.signing_certificate.clone().unwrap_or_default();
            let answer = with_evidence(certificate_url.as_deref(), &document, || post(&request));
            assert_eq!(answer.status, status.as_u16(), "{name}: {answer}");
            *accepted.entry(provider).or_insert(0) += 1;
        }
    }
    assert!(accepted.len() >= 14 && accepted.values().sum::<i32>() >= 80, "{accepted:?}");
}
