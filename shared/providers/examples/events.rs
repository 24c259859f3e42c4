//! Writes `events/`: one request or batch per file, in the form that each function receives, built
//! from the types that the functions parse. `cargo xtask generate` runs it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::content::{Call, Choice, Content, Interactive, Location, Media, Template};
use domain::conversation::{Contact, Conversation};
use domain::event::{EventKind, InboundEvent};
use domain::message::{Direction, Step};
use domain::notification::{Notification, NotificationData, NotificationKind};
use domain::provider::Channel;
use domain::task::{
    MarkReadTask, MediaTask, NotificationTask, OutboundAction, OutboundTask, SendTask, VERSION,
};
use domain::webhook::{ParsedWebhook, WebhookProvider, WebhookRequest, receive};
use domain::{IntegrationId, Message, MessageId, Provider, ReplayId, Status, TenantId};
use jiff::{Timestamp, ToSpan as _};
use providers::example::{self, Example, Seed};
use providers::{evolution, infobip, telegram, twilio, whatsapp_cloud};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde_json::{Value, json};

/// A file: its path under `events/`, without `.json`, and its content.
pub(crate) type Event = (String, Value);

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Returns the folder of the files.
#[must_use]
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events")
}

/// Returns every file.
///
/// # Errors
/// If an example cannot be written as JSON or does not verify, which is a bug in the examples.
pub(crate) fn events() -> Result<Vec<Event>> {
    let handwritten = handwritten()?;
    let mut events: Vec<Event> =
        handwritten.into_iter().map(|(name, event)| (name.to_owned(), event)).collect();
    // If both have a file with the same name, the handwritten one is more complete.
    let generated = example_webhooks().into_iter();
    let generated =
        generated.filter(|(name, _)| events.iter().all(|(existing, _)| existing != name));
    let generated: Vec<Event> = generated.collect();
    events.extend(generated);
    events.extend(recorded_batches()?);
    events.extend(text_batches()?);
    Ok(events)
}

fn handwritten() -> Result<Vec<(&'static str, Value)>> {
    let mut events = whatsapp_webhooks();
    events.extend(telegram_webhooks());
    events.extend(inbound_batches()?);
    events.extend(receipt_batches()?);
    events.extend(automation_batches()?);
    events.extend(media_batches()?);
    events.extend(sender_batches()?);
    events.extend(twilio_batches()?);
    events.extend(tenant_requests());
    events.extend(integration_requests());
    events.extend(message_requests());
    events.extend(conversation_requests());
    events.extend(event_requests());
    events.extend(dead_letter_requests());
    events.extend(parked_batches()?);
    events.extend(replay_batches()?);
    events.push(("api-authorizer/bearer", authorizer("Bearer example")));
    events.push(("api-authorizer/nonsense", authorizer("Basic ZXhhbXBsZQ==")));
    events.extend(job_requests());
    events.push(("schedule-deliveries/tick", json!({})));
    events.push(("schedule-jobs/tick", json!({})));
    Ok(events)
}

/// Returns every existing file, by its path under `events/` without `.json`.
///
/// # Errors
/// If a file cannot be read or is not JSON.
pub(crate) fn files() -> Result<BTreeMap<String, Value>> {
    let mut files = BTreeMap::new();
    for inside in std::fs::read_dir(folder())? {
        for file in std::fs::read_dir(inside?.path())? {
            let path = file?.path();
            let name = path.strip_prefix(folder())?.with_extension("");
            let event = serde_json::from_slice(&std::fs::read(&path)?)?;
            files.insert(name.to_string_lossy().into_owned(), event);
        }
    }
    Ok(files)
}

/// Removes what differs between signatures of the same body: headers and query parameters, the
/// order of the body's fields, and random values.
pub(crate) fn comparable(mut event: Value) -> Value {
    for field in ["headers", "queryStringParameters"] {
        let Some(fields) = event.get_mut(field).and_then(Value::as_object_mut) else { continue };
        for (name, value) in fields {
            if !matches!(name.as_str(), "content-type" | "host" | "user-agent" | "authorization") {
                *value = Value::Null;
            }
        }
    }
    set(&mut event, "rawQueryString", Value::Null);
    match event.get_mut("Records").and_then(Value::as_array_mut) {
        Some(records) => records.iter_mut().for_each(read_body),
        None => read_body(&mut event),
    }
    event
}

/// Replaces a body by its value, if it is JSON.
fn read_body(event: &mut Value) {
    if let Ok(body) = serde_json::from_slice::<Value>(&bytes(event)) {
        set(event, "body", body);
    }
}

/// Returns the bytes of a body.
pub(crate) fn bytes(event: &Value) -> Bytes {
    let body = event.get("body").and_then(Value::as_str).unwrap_or_default();
    let decoded = match event.get("isBase64Encoded") {
        Some(Value::Bool(true)) => STANDARD.decode(body).ok(),
        _ => None,
    };
    decoded.map_or_else(|| Bytes::copy_from_slice(body.as_bytes()), Bytes::from)
}

/// Writes the files that are missing or have changed, and removes those that no example has.
fn main() -> Result<()> {
    let mut existing = files()?;
    let path = |name: &str| folder().join(name).with_extension("json");
    for (name, event) in events()? {
        let is_unchanged = existing
            .remove(&name)
            .is_some_and(|known| comparable(known) == comparable(event.clone()));
        if is_unchanged {
            continue;
        }
        let path = path(&name);
        std::fs::create_dir_all(path.parent().unwrap_or(&path))?;
        std::fs::write(path, format!("{event:#}\n"))?;
    }
    for stale in existing.keys() {
        std::fs::remove_file(path(stale))?;
    }
    Ok(())
}

// Webhooks.

/// A request in the form of API Gateway, payload version 2.0.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>
struct Http<'a> {
    method: &'a str,
    /// Path of the route, with the names of its parameters.
    route: &'a str,
    path: String,
    query: &'a str,
    parameters: Value,
    headers: Value,
    authorizer: Option<Value>,
    body: Option<(String, bool)>,
}

impl Default for Http<'_> {
    fn default() -> Self {
        Self {
            method: "POST",
            route: "/",
            path: "/".to_owned(),
            query: "",
            parameters: Value::Null,
            headers: json!({}),
            authorizer: None,
            body: None,
        }
    }
}

impl Http<'_> {
    fn event(self) -> Value {
        let route_key = format!("{} {}", self.method, self.route);
        let mut context = json!({
            "accountId": "123456789012",
            "apiId": "local",
            "domainName": "hub.example.com",
            "domainPrefix": "hub",
            "http": {
                "method": self.method, "path": self.path, "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1", "userAgent": "example",
            },
            "requestId": "request-1",
            "routeKey": route_key,
            "stage": "$default",
            "time": "20/Nov/2026:12:00:00 +0000",
            "timeEpoch": whatsapp_cloud::example::AT * 1000,
        });
        let mut headers = json!({ "host": "hub.example.com", "user-agent": "example" });
        set_all(&mut headers, &self.headers);
        if let Some(authorizer) = self.authorizer {
            set(&mut context, "authorizer", json!({ "lambda": authorizer }));
        }
        let (body, encoded) = self.body.map_or((None, false), |(body, b64)| (Some(body), b64));
        let mut event = json!({
            "version": "2.0",
            "routeKey": route_key,
            "rawPath": self.path,
            "rawQueryString": self.query,
            "headers": headers,
            "requestContext": context,
            "isBase64Encoded": encoded,
        });
        if let Some(body) = body {
            set(&mut event, "body", body.into());
        }
        if !self.query.is_empty() {
            let pairs = providers::form::decode(self.query.as_bytes()).into_iter();
            let pairs = pairs.map(|(name, value)| (name, Value::from(value)));
            set(&mut event, "queryStringParameters", Value::Object(pairs.collect()));
        }
        if !self.parameters.is_null() {
            set(&mut event, "pathParameters", self.parameters);
        }
        event
    }
}

fn set(object: &mut Value, name: &str, value: Value) {
    if let Value::Object(object) = object {
        object.insert(name.to_owned(), value);
    }
}

fn set_all(object: &mut Value, remaining: &Value) {
    if let (Value::Object(object), Value::Object(remaining)) = (object, remaining) {
        object.extend(remaining.clone());
    }
}

/// Returns a request to `webhook`; `suffix` is the parameter after the provider's name in its path.
fn webhook(
    webhook: &dyn WebhookProvider,
    request: &WebhookRequest,
    suffix: Option<(&str, &str)>,
    b64: bool,
) -> Value {
    webhook_event(webhook.path(), request, suffix, b64)
}

/// Returns a request to the webhook at `path`.
fn webhook_event(
    path: &str,
    request: &WebhookRequest,
    suffix: Option<(&str, &str)>,
    b64: bool,
) -> Value {
    let base = format!("/webhooks/{path}");
    let route = suffix.map_or_else(|| base.clone(), |(name, _)| format!("{base}/{{{name}}}"));
    let path = suffix.map_or_else(|| base.clone(), |(_, value)| format!("{base}/{value}"));
    let query = providers::form::encode(&request.query);
    let mut headers = json!({});
    for (name, value) in &request.headers {
        set(&mut headers, name.as_str(), value.to_str().unwrap_or_default().into());
    }
    let is_post = request.method == http::Method::POST;
    if is_post && !request.headers.contains_key(http::header::CONTENT_TYPE) {
        set(&mut headers, "content-type", "application/json".into());
    }
    let body = if b64 {
        STANDARD.encode(&request.body)
    } else {
        String::from_utf8_lossy(&request.body).into_owned()
    };
    Http {
        method: request.method.as_str(),
        route: &route,
        path,
        query: &query,
        parameters: suffix.map_or(Value::Null, |(name, value)| json!({ (name): value })),
        headers,
        body: is_post.then_some((body, b64)),
        ..Http::default()
    }
    .event()
}

/// Host name of API Gateway in the files.
const HOST: &str = "https://hub.example.com";

/// Whether API Gateway passes the body as text; it encodes bodies of other content types.
fn is_text(request: &WebhookRequest) -> bool {
    let kind = request.headers.get(http::header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let known = ["application/json", "application/xml", "application/javascript"];
    (kind.starts_with("text/") || known.contains(&kind))
        && std::str::from_utf8(&request.body).is_ok()
}

/// Returns an example, signed for the webhook's URL, and the parameter after the webhook's name in
/// that URL.
pub(crate) fn signed(
    provider: Provider,
    example: &Example,
) -> (WebhookRequest, Option<(&'static str, String)>) {
    let entry = providers::spec(provider);
    // Where the provider has one URL for the operator's own app, it needs no integration id.
    let suffix = match entry.path_secret {
        Some(name) => {
            let credentials = (example::of(provider).credentials)();
            let secret = credentials.first(name).map(|secret| secret.expose_secret().to_owned());
            Some(("secret", secret.unwrap_or_default()))
        }
        None if entry.shared_webhook_url => None,
        None => Some(("integration", integration(provider).to_string())),
    };
    let mut url = format!("{HOST}/webhooks/{}", example::webhook(provider, example).path());
    if let Some((_, suffix)) = &suffix {
        url = format!("{url}/{suffix}");
    }
    let seed = Seed::fixed(&example.full_name());
    let draft = (example.draft)(&seed);
    (example::signed(provider, example, &draft, &url, seed.at), suffix)
}

fn example_webhooks() -> Vec<Event> {
    let files = example::all().map(|(provider, example)| {
        let (request, suffix) = signed(provider, example);
        let suffix = suffix.as_ref().map(|(name, value)| (*name, value.as_str()));
        let path = example::webhook(provider, example).path();
        let event = webhook_event(path, &request, suffix, !is_text(&request));
        (example.full_name(), event)
    });
    files.collect()
}

fn integration(provider: Provider) -> IntegrationId {
    IntegrationId::derived(&["example", provider.as_str()])
}

fn whatsapp_webhooks() -> Vec<(&'static str, Value)> {
    use whatsapp_cloud::example::{
        PHONE_NUMBER_ID as NUMBER, VERIFY_TOKEN, envelope, escaped, failed, handshake, image,
        message, messages, request, status, statuses, text,
    };
    let plain = |request: &WebhookRequest| webhook(&whatsapp_cloud::WEBHOOK, request, None, false);
    let one = |change: Value| plain(&request(escaped(&envelope(&[change]))));
    let inbound = |message: Value| one(messages(NUMBER, &[message]));
    let reference = MessageId::derived(&["example"]).to_string();
    let greeting = text("wamid.TEXT", "Grüße / 👋");

    let button = json!({ "type": "button", "button": { "payload": "STOP", "text": "Stop" } });
    let list = json!({ "type": "interactive", "context": { "id": "wamid.OUT" }, "interactive":
        { "type": "list_reply", "list_reply":
            { "id": "express", "title": "Express", "description": "Tomorrow" } } });
    let location = json!({ "type": "location", "location":
        { "latitude": 52.5163, "longitude": 13.3777, "name": "Brandenburger Tor" } });
    let reaction = json!({ "type": "reaction", "reaction":
        { "message_id": "wamid.OUT", "emoji": "👍" } });
    let order = json!({ "type": "order", "order": { "catalog_id": "1", "product_items": [] } });

    let receipts = ["sent", "delivered", "read"];
    let receipts = receipts.map(|name| status("wamid.OUT", name, Some(&reference)));
    let failure = failed("wamid.OUT", 131_047, "Re-engagement message", Some(&reference));
    let batch = escaped(&envelope(&[
        messages(
            NUMBER,
            &[text("wamid.B1", "one"), message("wamid.B2", &order), text("wamid.B3", "three")],
        ),
        statuses(NUMBER, &receipts),
        messages("15550003333444", &[text("wamid.B4", "another tenant's")]),
    ]));
    let body = escaped(&envelope(&[messages(NUMBER, std::slice::from_ref(&greeting))]));
    let mut forged = request(body.clone());
    forged.body = Bytes::from([&body[..], b" "].concat());
    let mut unsigned = request(body.clone());
    unsigned.headers.clear();
    let own = integration(Provider::WhatsappCloud).to_string();
    let own = webhook(
        &whatsapp_cloud::WEBHOOK,
        &request(body.clone()),
        Some(("integration", &own)),
        false,
    );

    vec![
        ("whatsapp/text", inbound(greeting)),
        ("whatsapp/text_base64", webhook(&whatsapp_cloud::WEBHOOK, &request(body), None, true)),
        ("whatsapp/text_own_app", own),
        ("whatsapp/image", inbound(image("wamid.IMAGE", "900000000000001", "Look"))),
        ("whatsapp/location", inbound(message("wamid.LOCATION", &location))),
        ("whatsapp/reaction", inbound(message("wamid.REACTION", &reaction))),
        ("whatsapp/button", inbound(message("wamid.BUTTON", &button))),
        ("whatsapp/list_reply", inbound(message("wamid.LIST", &list))),
        ("whatsapp/unsupported", inbound(message("wamid.ORDER", &order))),
        ("whatsapp/statuses", one(statuses(NUMBER, &receipts))),
        ("whatsapp/failed", one(statuses(NUMBER, &[failure]))),
        ("whatsapp/batch", plain(&request(batch))),
        ("whatsapp/other_field", one(other_field())),
        (
            "whatsapp/unreadable",
            plain(&request(Bytes::from_static(b"{\"object\":\"page\",\"entry\":[]}"))),
        ),
        ("whatsapp/forged", plain(&forged)),
        ("whatsapp/unsigned", plain(&unsigned)),
        ("whatsapp/handshake", plain(&handshake(VERIFY_TOKEN, "1158201444"))),
        ("whatsapp/handshake_wrong_token", plain(&handshake("wrong", "1158201444"))),
    ]
}

fn other_field() -> Value {
    json!({ "field": "account_update", "value": { "event": "VERIFIED_ACCOUNT" } })
}

fn telegram_webhooks() -> Vec<(&'static str, Value)> {
    use telegram::example::{AT, WEBHOOK_SECRET, chat, message, request, text, update, user};
    let own = integration(Provider::Telegram).to_string();
    let to = |suffix: &str, request: &WebhookRequest| {
        webhook(&telegram::WEBHOOK, request, Some(("secret", suffix)), false)
    };
    let inbound = |id: i64, content: Value| {
        to(&own, &request(&update(id, "message", &message(id, &content))))
    };
    let photo = json!([
        { "file_id": "small", "file_unique_id": "s", "width": 90, "height": 60, "file_size": 1200 },
        { "file_id": "large", "file_unique_id": "l", "width": 1280, "height": 853, "file_size": 98000 },
    ]);
    let group = json!({ "id": -1_001_234_567_890_i64, "type": "supergroup", "title": "Team" });
    let keyboard = json!({ "inline_keyboard": [[{ "text": "Yes", "callback_data": "yes" }]] });
    let asked = message(8, &json!({ "text": "Shall we?", "reply_markup": keyboard }));
    let press = json!({ "id": "4200000001", "from": user(), "message": asked, "chat_instance": "1", "data": "yes" });
    let reaction = json!({ "chat": chat(), "message_id": 8, "user": user(), "date": AT,
        "old_reaction": [], "new_reaction": [{ "type": "emoji", "emoji": "👍" }] });
    let blocked = json!({ "chat": chat(), "from": user(), "date": AT });
    let greeting = request(&text(1001, 11, "Grüße 👋"));
    let mut wrong = greeting.clone();
    let other = http::HeaderValue::from_static("wrong");
    wrong.headers.insert("x-telegram-bot-api-secret-token", other);
    let mut missing = greeting.clone();
    missing.headers.clear();

    vec![
        ("telegram/text", to(&own, &greeting)),
        ("telegram/text_secret_path", to(WEBHOOK_SECRET, &greeting)),
        ("telegram/photo", inbound(1002, json!({ "photo": photo, "caption": "Look" }))),
        ("telegram/group", inbound(1003, json!({ "text": "Hello all", "chat": group }))),
        (
            "telegram/reply",
            inbound(
                1004,
                json!({ "text": "Yes", "reply_to_message": message(8, &json!({ "text": "Shall we?" })) }),
            ),
        ),
        (
            "telegram/unsupported",
            inbound(1005, json!({ "game": { "title": "Chess", "photo": [] } })),
        ),
        ("telegram/callback_query", to(&own, &request(&update(1006, "callback_query", &press)))),
        ("telegram/reaction", to(&own, &request(&update(1007, "message_reaction", &reaction)))),
        ("telegram/my_chat_member", to(&own, &request(&update(1008, "my_chat_member", &blocked)))),
        ("telegram/wrong_secret", to(&own, &wrong)),
        ("telegram/missing_secret", to(&own, &missing)),
        ("telegram/wrong_path", to("wrong", &greeting)),
    ]
}

// Queues.

/// Returns a batch in the form of Lambda, with one record for each of `bodies`.
/// <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html>
fn batch(queue: &str, group: &str, bodies: &[impl Serialize]) -> Result<Value> {
    let mut records = Vec::new();
    for (index, body) in bodies.iter().enumerate() {
        let sent = (whatsapp_cloud::example::AT * 1000).to_string();
        let mut attributes = json!({
            "ApproximateReceiveCount": "1",
            "ApproximateFirstReceiveTimestamp": sent,
            "SenderId": "AIDAEXAMPLE",
            "SentTimestamp": sent,
        });
        set(&mut attributes, "MessageGroupId", group.into());
        if queue.strip_suffix(".fifo").is_some() {
            let number = format!("{:020}", index + 1);
            set(&mut attributes, "SequenceNumber", number.into());
            set(&mut attributes, "MessageDeduplicationId", format!("example-{index}").into());
        }
        records.push(json!({
            "messageId": format!("00000000-0000-4000-8000-{index:012}"),
            "receiptHandle": format!("receipt-{index}"),
            "body": serde_json::to_string(body)?,
            "attributes": attributes,
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "eventSourceARN": format!("arn:aws:sqs:us-east-1:123456789012:{queue}"),
            "awsRegion": "us-east-1",
        }));
    }
    Ok(json!({ "Records": records }))
}

fn tenant() -> Result<TenantId> {
    Ok("acme".parse()?)
}

fn at() -> Result<Timestamp> {
    Ok(Timestamp::from_second(whatsapp_cloud::example::AT)?)
}

/// Returns the events of a webhook, in the form in which its function queues them.
fn inbound(provider: Provider, request: &WebhookRequest) -> Result<Vec<InboundEvent>> {
    let webhook = providers::webhook(provider).ok_or("the provider has no webhook")?;
    received_events(provider, webhook, request)
}

fn received_events(
    provider: Provider,
    webhook: &dyn WebhookProvider,
    request: &WebhookRequest,
) -> Result<Vec<InboundEvent>> {
    let integration = example::integration(provider, integration(provider), tenant()?)?;
    let source = webhook.source(&integration, &(example::of(provider).credentials)());
    let ParsedWebhook::Events(parsed) = receive(&*source, request, at()?)? else {
        return Ok(Vec::new());
    };
    let received_at = at()? + 1.second();
    let into_inbound_event =
        |(event, place)| example::into_inbound_event(event, &integration, received_at, place);
    Ok(parsed.into_iter().zip(0..).map(into_inbound_event).collect())
}

fn channel(provider: Provider) -> Result<Channel> {
    let first = provider.channels().first().copied();
    first.ok_or_else(|| format!("the hub sends no messages through {provider}").into())
}

/// Returns the conversation with the customer of the examples, who just wrote.
fn conversation(provider: Provider) -> Result<Conversation> {
    let tenant = tenant()?;
    let (account, address) = match provider {
        Provider::Telegram => (telegram::example::BOT_ID, telegram::example::CHAT_ID.to_string()),
        Provider::Evolution => {
            (evolution::example::INSTANCE, evolution::example::NUMBER.to_owned())
        }
        Provider::Infobip => (infobip::example::ACCOUNT, infobip::example::PERSON.to_owned()),
        Provider::Twilio => (twilio::example::ACCOUNT_SID, twilio::example::PERSON.to_owned()),
        _ => (whatsapp_cloud::example::PHONE_NUMBER_ID, whatsapp_cloud::example::WA_ID.to_owned()),
    };
    let channel = channel(provider)?;
    let parties =
        domain::conversation::Parties { tenant: &tenant, channel, account, counterpart: &address };
    let (id, contact) = (parties.conversation(), parties.contact());
    Ok(Conversation {
        id,
        tenant: tenant.clone(),
        channel,
        provider,
        integration: integration(provider),
        account: account.to_owned(),
        contact: Contact {
            id: contact,
            address,
            name: Some(whatsapp_cloud::example::NAME.to_owned()),
        },
        created_at: at()?,
        last_activity_at: at()?,
        last_inbound_at: Some(at()?),
        last_inbound_message: None,
    })
}

fn message(provider: Provider, direction: Direction, content: Content) -> Result<Message> {
    let (status, occurred_at) = match direction {
        Direction::Inbound => (Status::Received, Some(at()?)),
        Direction::Outbound => (Status::Queued, None),
    };
    Ok(Message {
        id: MessageId::derived_at(at()?, &["example", provider.as_str(), content.kind()]),
        tenant: tenant()?,
        conversation: conversation(provider)?.id,
        channel: channel(provider)?,
        provider,
        integration: integration(provider),
        direction,
        content,
        status,
        provider_message_id: None,
        reply_to: None,
        created_at: at()?,
        occurred_at,
        history: vec![Step::plain(status, at()?)],
    })
}

fn send(provider: Provider, content: Content) -> Result<OutboundTask> {
    let task = OutboundAction::Send(Box::new(SendTask {
        failover: domain::task::FailoverPlan::default(),
        message: message(provider, Direction::Outbound, content)?,
        to: conversation(provider)?.contact.address,
        reply_to: None,
        // Far in the future, so that the file does not expire.
        expires_at: at()? + (24 * 365 * 50).hours(),
    }));
    Ok(OutboundTask { v: VERSION, action: task })
}

fn text(text: &str) -> Content {
    Content::Text { text: text.to_owned() }
}

fn group(provider: Provider) -> Result<String> {
    Ok(conversation(provider)?.id.to_string())
}

fn whatsapp_change(change: Value) -> Result<Vec<InboundEvent>> {
    let body = whatsapp_cloud::example::envelope(&[change]);
    inbound(
        Provider::WhatsappCloud,
        &whatsapp_cloud::example::request(whatsapp_cloud::example::escaped(&body)),
    )
}

fn received_messages(messages: &[Value]) -> Result<Vec<InboundEvent>> {
    whatsapp_change(whatsapp_cloud::example::messages(
        whatsapp_cloud::example::PHONE_NUMBER_ID,
        messages,
    ))
}

fn received_statuses(statuses: &[Value]) -> Result<Vec<InboundEvent>> {
    whatsapp_change(whatsapp_cloud::example::statuses(
        whatsapp_cloud::example::PHONE_NUMBER_ID,
        statuses,
    ))
}

fn inbound_batches() -> Result<Vec<(&'static str, Value)>> {
    use whatsapp_cloud::example;
    let picture = example::image("wamid.IMAGE", "900000000000001", "Look");
    let three = ["one", "two", "three"].map(|n| example::text(&format!("wamid.{n}"), n));
    let telegram = telegram::example::request(&telegram::example::text(1001, 11, "Grüße 👋"));
    let telegram = inbound(Provider::Telegram, &telegram)?;
    let whatsapp = |name, messages: &[Value]| {
        Ok::<_, Box<dyn std::error::Error>>((
            name,
            batch("inbound.fifo", &group(Provider::WhatsappCloud)?, &received_messages(messages)?)?,
        ))
    };
    Ok(vec![
        whatsapp("consumer-inbound/text", &[example::text("wamid.TEXT", "Grüße / 👋")])?,
        whatsapp("consumer-inbound/three_in_order", &three)?,
        whatsapp("consumer-inbound/image", &[picture])?,
        (
            "consumer-inbound/telegram_text",
            batch("inbound.fifo", &group(Provider::Telegram)?, &telegram)?,
        ),
        ("consumer-inbound/poison", batch("inbound.fifo", "poison", &[json!({ "v": 99 })])?),
    ])
}

fn receipt_batches() -> Result<Vec<(&'static str, Value)>> {
    use whatsapp_cloud::example::{failed, status};
    let reference =
        message(Provider::WhatsappCloud, Direction::Outbound, text("Hello"))?.id.to_string();
    let reference = Some(reference.as_str());
    let out_of_order =
        ["read", "delivered", "sent"].map(|name| status("wamid.OUT", name, reference));
    let failure = failed("wamid.OUT", 131_047, "Re-engagement message", reference);
    let unknown_message = status("wamid.UNKNOWN", "delivered", None);
    Ok(vec![
        (
            "consumer-receipts/out_of_order",
            batch("receipts", "acme", &received_statuses(&out_of_order)?)?,
        ),
        ("consumer-receipts/failed", batch("receipts", "acme", &received_statuses(&[failure])?)?),
        (
            "consumer-receipts/unknown_message",
            batch("receipts", "acme", &received_statuses(&[unknown_message])?)?,
        ),
    ])
}

/// Returns the batches of the events queue: one file per provider.
fn recorded_batches() -> Result<Vec<Event>> {
    let mut batches = Vec::new();
    for provider in Provider::ALL {
        let mut events = Vec::new();
        for example in example::of(*provider).events {
            let (request, _) = signed(*provider, example);
            events.extend(received_events(
                *provider,
                example::webhook(*provider, example),
                &request,
            )?);
        }
        if *provider == Provider::WhatsappCloud {
            events.extend(whatsapp_change(other_field())?);
        }
        let is_conversational = !provider.channels().is_empty();
        events.retain(|event| !is_conversational || matches!(event.kind, EventKind::Other { .. }));
        // Maximum batch size of the queue.
        events.truncate(10);
        if let Some(first) = events.first() {
            let group = first.ordering_group();
            let name = format!("consumer-events/{provider}");
            batches.push((name, batch("events.fifo", &group, &events)?));
        }
    }
    Ok(batches)
}

fn parked_batches() -> Result<Vec<(&'static str, Value)>> {
    let body = STANDARD.encode("{\"object\":\"page\",\"entry\":[]}");
    let parked = json!({
        "v": VERSION, "provider": "whatsapp", "integration": integration(Provider::WhatsappCloud),
        "tenant": tenant()?, "reason": "line 1, column 16", "received_at": at()?, "body": body,
    });
    Ok(vec![
        ("consumer-parked/unreadable", batch("parked", "acme", &[parked])?),
        ("consumer-parked/poison", batch("parked", "acme", &[json!({ "v": 99 })])?),
    ])
}

fn replay_batches() -> Result<Vec<(&'static str, Value)>> {
    let replay = ReplayId::derived(&["example"]);
    let job = json!({ "v": VERSION, "tenant": tenant()?, "replay": replay, "cursor": "" });
    Ok(vec![("consumer-replay/first_page", batch("replay", "acme", &[job])?)])
}

fn automation_batches() -> Result<Vec<(&'static str, Value)>> {
    let data = NotificationData {
        tenant: tenant()?,
        message: message(Provider::WhatsappCloud, Direction::Inbound, text("Grüße / 👋"))?,
        conversation: Some(conversation(Provider::WhatsappCloud)?),
        job: None,
    };
    let id = data.notification_id(NotificationKind::MessageReceived);
    let notification =
        Notification { kind: NotificationKind::MessageReceived, timestamp: at()?, data };
    let retry = NotificationTask { v: VERSION, id, tenant: tenant()?, notification: None };
    let first = NotificationTask { notification: Some(Box::new(notification)), ..retry.clone() };
    Ok(vec![
        ("consumer-automation/message_received", batch("automation", "acme", &[first])?),
        ("consumer-automation/retry", batch("automation", "acme", &[retry])?),
    ])
}

fn media_batches() -> Result<Vec<(&'static str, Value)>> {
    let media = Media {
        provider_media_id: Some("900000000000001".to_owned()),
        mime_type: Some("image/jpeg".to_owned()),
        ..Media::default()
    };
    let job = MediaTask {
        v: VERSION,
        tenant: tenant()?,
        integration: integration(Provider::WhatsappCloud),
        provider_media_id: media.provider_media_id.clone().unwrap_or_default(),
        mime_type: media.mime_type.clone(),
        message: message(Provider::WhatsappCloud, Direction::Inbound, Content::Image { media })?.id,
    };
    Ok(vec![("consumer-media/image", batch("media", "acme", &[job])?)])
}

/// Returns a batch of a provider's outbound queue.
fn outbound_batch(provider: Provider, task: OutboundTask) -> Result<Value> {
    let queue = format!("outbound-{}.fifo", provider.resource_name());
    batch(&queue, &group(provider)?, &[task])
}

/// Returns a batch with a text for every sender.
fn text_batches() -> Result<Vec<Event>> {
    let batches = Provider::senders().map(|provider| {
        let name = format!("sender-{}/text", provider.resource_name());
        Ok((name, outbound_batch(provider, send(provider, text("Hello"))?)?))
    });
    batches.collect()
}

fn sender_batches() -> Result<Vec<(&'static str, Value)>> {
    let read = OutboundAction::MarkRead(MarkReadTask {
        tenant: tenant()?,
        integration: integration(Provider::WhatsappCloud),
        provider_message_id: "wamid.TEXT".to_owned(),
    });
    let read = OutboundTask { v: VERSION, action: read };
    let template =
        Template { name: "hello_world".into(), language: "en_US".into(), components: Vec::new() };
    let media = Media { url: Some("https://example.com/picture.jpg".into()), ..Media::default() };
    let picture = Media {
        mime_type: Some("image/jpeg".into()),
        caption: Some("Look".into()),
        ..media.clone()
    };
    let yes = Choice { id: "yes".into(), title: "Yes".into(), description: None };
    let interactive = Interactive::Button {
        body: "Shall we?".into(),
        header: None,
        footer: None,
        buttons: vec![yes],
    };
    let choice = Content::Interactive { interactive };
    let job = |name, job: OutboundTask, provider: Provider| {
        Ok::<_, Box<dyn std::error::Error>>((name, outbound_batch(provider, job)?))
    };
    let whatsapp =
        |name, content| job(name, send(Provider::WhatsappCloud, content)?, Provider::WhatsappCloud);
    let telegram =
        |name, content| job(name, send(Provider::Telegram, content)?, Provider::Telegram);
    let infobip = |name, content| job(name, send(Provider::Infobip, content)?, Provider::Infobip);
    let custom = |name, content| job(name, send(Provider::Custom, content)?, Provider::Custom);
    let parts = vec![json!({ "body": { "placeholders": ["Zoë", "12:00"] } })];
    let booked =
        Template { name: "table_booked".into(), language: "en_GB".into(), components: parts };
    let evolution =
        |name, content| job(name, send(Provider::Evolution, content)?, Provider::Evolution);
    Ok(vec![
        whatsapp("sender-whatsapp/template", Content::Template { template })?,
        whatsapp("sender-whatsapp/image", Content::Image { media: media.clone() })?,
        job("sender-whatsapp/mark_read", read, Provider::WhatsappCloud)?,
        telegram("sender-telegram/buttons", choice.clone())?,
        evolution("sender-evolution/image", Content::Image { media: picture })?,
        evolution("sender-evolution/buttons", choice.clone())?,
        infobip("sender-infobip/template", Content::Template { template: booked })?,
        infobip("sender-infobip/image", Content::Image { media: media.clone() })?,
        infobip("sender-infobip/buttons", choice.clone())?,
        custom("sender-custom/image", Content::Image { media })?,
        custom("sender-custom/buttons", choice)?,
    ])
}

/// Returns the batches of Twilio's sender, for each of its channels.
fn twilio_batches() -> Result<Vec<(&'static str, Value)>> {
    let template = Template {
        name: "hello".into(),
        language: "en".into(),
        components: vec![json!({ "1": "Anna" })],
    };
    let media = Media {
        url: Some("https://example.com/picture.jpg".into()),
        caption: Some("Look".into()),
        ..Media::default()
    };
    let location = Location {
        latitude: 52.5163,
        longitude: 13.3777,
        name: Some("Brandenburger Tor".into()),
        address: None,
    };
    let call = Call {
        twiml: Some("<Response><Say>Your order is ready.</Say></Response>".into()),
        timeout: Some(20),
        detect_machine: true,
        ..Call::default()
    };
    let on = |name, channel: Channel, content: Content| {
        let mut job = send(Provider::Twilio, content)?;
        if let OutboundAction::Send(task) = &mut job.action {
            task.message.channel = channel;
        }
        Ok::<_, Box<dyn std::error::Error>>((name, outbound_batch(Provider::Twilio, job)?))
    };
    Ok(vec![
        on("sender-twilio/picture", Channel::Sms, Content::Image { media })?,
        on("sender-twilio/whatsapp_text", Channel::Whatsapp, text("Hello"))?,
        on("sender-twilio/whatsapp_template", Channel::Whatsapp, Content::Template { template })?,
        on("sender-twilio/whatsapp_location", Channel::Whatsapp, Content::Location { location })?,
        on("sender-twilio/call", Channel::Voice, Content::Call { call })?,
    ])
}

// The API.

fn api(
    method: &'static str,
    route: &str,
    parameters: &[(&str, &str)],
    query: &str,
    body: Option<Value>,
) -> Value {
    let mut path = route.to_owned();
    let mut named = json!({});
    for (name, value) in parameters {
        path = path.replace(&format!("{{{name}}}"), value);
        set(&mut named, name, (*value).into());
    }
    let mut headers = json!({ "authorization": "Bearer example" });
    if body.is_some() {
        set(&mut headers, "content-type", "application/json".into());
    }
    Http {
        method,
        route,
        path,
        query,
        parameters: if parameters.is_empty() { Value::Null } else { named },
        headers,
        authorizer: Some(json!({ "tenant": "platform", "scopes": "admin" })),
        body: body.map(|body| (body.to_string(), false)),
    }
    .event()
}

/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html>
fn authorizer(authorization: &str) -> Value {
    let headers = json!({ "authorization": authorization });
    let request = Http {
        method: "GET",
        route: "/conversations",
        path: "/conversations".into(),
        headers,
        ..Http::default()
    };
    let mut event = request.event();
    let arn = "arn:aws:execute-api:us-east-1:123456789012:local/$default/GET/conversations";
    let more = json!({ "type": "REQUEST", "routeArn": arn, "identitySource": [authorization] });
    set_all(&mut event, &more);
    if let Value::Object(event) = &mut event {
        event.remove("isBase64Encoded");
    }
    event
}

const FOR_ACME: &str = "tenant=acme";

fn tenant_requests() -> Vec<(&'static str, Value)> {
    const AUTOMATION: &str = "/tenants/{tenant}/automation";
    const KEYS: &str = "/tenants/{tenant}/keys";
    const LIMITS: &str = "/tenants/{tenant}/limits";
    let acme_parameters = [("tenant", "acme")];
    let key = domain::KeyId::derived(&["example"]).to_string();
    let one_key = [("tenant", "acme"), ("key", key.as_str())];
    let acme = json!({ "id": "acme", "name": "Acme" });
    let scopes = json!({ "scopes": ["send", "read"] });
    let push = json!({ "kind": "push", "url": "https://automation.example.com/hook" });
    let limits = json!({ "key": { "messages": 4800 }, "waiting_workers": 40 });
    vec![
        ("api-tenants/create", api("POST", "/tenants", &[], "", Some(acme))),
        ("api-tenants/list", api("GET", "/tenants", &[], "", None)),
        ("api-tenants/get", api("GET", "/tenants/{tenant}", &acme_parameters, "", None)),
        ("api-tenants/create_key", api("POST", KEYS, &acme_parameters, "", Some(scopes))),
        ("api-tenants/list_keys", api("GET", KEYS, &acme_parameters, "", None)),
        (
            "api-tenants/delete_key",
            api("DELETE", "/tenants/{tenant}/keys/{key}", &one_key, "", None),
        ),
        ("api-tenants/set_automation", api("PUT", AUTOMATION, &acme_parameters, "", Some(push))),
        ("api-tenants/get_automation", api("GET", AUTOMATION, &acme_parameters, "", None)),
        ("api-tenants/set_limits", api("PUT", LIMITS, &acme_parameters, "", Some(limits))),
        ("api-tenants/get_limits", api("GET", LIMITS, &acme_parameters, "", None)),
        ("api-audit/list", api("GET", "/audit", &[], FOR_ACME, None)),
    ]
}

fn integration_requests() -> Vec<(&'static str, Value)> {
    const ALL: &str = "/integrations";
    const ONE: &str = "/integrations/{id}";
    const VERIFY: &str = "/integrations/{id}/verify";
    const REGISTER: &str = "/integrations/{id}/register";
    const HEALTH: &str = "/integrations/{id}/health";
    const SETTINGS: &str = "/tenants/{tenant}/whatsapp-settings";
    let id = integration(Provider::WhatsappCloud).to_string();
    let id = [("id", id.as_str())];
    let whatsapp = json!({ "tenant": "acme", "provider": "whatsapp",
        "settings": { "phone_number_id": whatsapp_cloud::example::PHONE_NUMBER_ID },
        "credentials": {
            (whatsapp_cloud::ACCESS_TOKEN): whatsapp_cloud::example::ACCESS_TOKEN,
            (whatsapp_cloud::APP_SECRET): whatsapp_cloud::example::APP_SECRET,
            (whatsapp_cloud::VERIFY_TOKEN): whatsapp_cloud::example::VERIFY_TOKEN,
        } });
    let telegram = json!({ "tenant": "acme", "provider": "telegram", "settings": {},
        "credentials": {
            (telegram::BOT_TOKEN): telegram::example::BOT_TOKEN,
            (telegram::WEBHOOK_SECRET): telegram::example::WEBHOOK_SECRET,
        } });
    let pin = json!({ "pin": "123456" });
    let acme = [("tenant", "acme")];
    let route = json!({ "whatsapp_provider": "meta", "failover": ["infobip"],
        "policy": { "choice": "ordered", "patience_seconds": 60 } });
    vec![
        ("api-integrations/create_whatsapp", api("POST", ALL, &[], "", Some(whatsapp))),
        ("api-integrations/create_telegram", api("POST", ALL, &[], "", Some(telegram))),
        ("api-integrations/list", api("GET", ALL, &[], FOR_ACME, None)),
        ("api-integrations/get", api("GET", ONE, &id, FOR_ACME, None)),
        ("api-integrations/delete", api("DELETE", ONE, &id, FOR_ACME, None)),
        ("api-integrations/verify", api("POST", VERIFY, &id, FOR_ACME, None)),
        ("api-integrations/register", api("POST", REGISTER, &id, FOR_ACME, Some(pin))),
        ("api-integrations/health", api("GET", HEALTH, &id, FOR_ACME, None)),
        ("api-integrations/set_whatsapp", api("PUT", SETTINGS, &acme, "", Some(route))),
        ("api-integrations/get_whatsapp", api("GET", SETTINGS, &acme, "", None)),
    ]
}

fn message_requests() -> Vec<(&'static str, Value)> {
    let id = MessageId::derived(&["example"]).to_string();
    let id = [("id", id.as_str())];
    let post = |content: Value| {
        let to = whatsapp_cloud::example::WA_ID;
        let mut body = json!({ "tenant": "acme", "channel": "whatsapp", "to": to });
        set_all(&mut body, &content);
        api("POST", "/messages", &[], "", Some(body))
    };
    let url = "https://example.com/picture.jpg";
    let media = json!({ "media": { "type": "image", "url": url, "caption": "Look" } });
    let template = json!({ "template": { "name": "hello_world", "language": "en_US" } });
    let engine = json!({ "tenant_id": "acme", "to": "+4915550009999",
        "message": { "text": "Hello" } });
    let sms = json!({ "tenant_id": "acme", "to": "+4915550009999", "text": "Hello" });
    let twiml = "<Response><Say>Your table is ready.</Say></Response>";
    let call = json!({ "tenant_id": "acme", "to": "+4915550009999", "twiml": twiml });
    vec![
        ("api-messages/send_text", post(json!({ "text": "Hello" }))),
        ("api-messages/send_media", post(media)),
        ("api-messages/send_template", post(template)),
        ("api-messages/send_too_long", post(json!({ "text": "x".repeat(4097) }))),
        ("api-messages/engine", api("POST", "/messages/send", &[], "", Some(engine))),
        ("api-messages/sms", api("POST", "/sms/send", &[], "", Some(sms))),
        ("api-messages/call", api("POST", "/calls", &[], "", Some(call))),
        ("api-messages/get", api("GET", "/messages/{id}", &id, FOR_ACME, None)),
        ("api-messages/media", api("GET", "/messages/{id}/media", &id, FOR_ACME, None)),
    ]
}

fn conversation_requests() -> Vec<(&'static str, Value)> {
    const ONE: &str = "/conversations/{id}";
    const MESSAGES: &str = "/conversations/{id}/messages";
    const READ: &str = "/conversations/{id}/read";
    let id = domain::ConversationId::derived(&["example"]).to_string();
    let id = [("id", id.as_str())];
    let path = "/openapi.json";
    let openapi = Http { method: "GET", route: path, path: path.into(), ..Http::default() };
    vec![
        ("api-conversations/list", api("GET", "/conversations", &[], FOR_ACME, None)),
        ("api-conversations/get", api("GET", ONE, &id, FOR_ACME, None)),
        ("api-conversations/messages", api("GET", MESSAGES, &id, FOR_ACME, None)),
        ("api-conversations/read", api("POST", READ, &id, FOR_ACME, None)),
        ("api-openapi/get", openapi.event()),
    ]
}

fn job_requests() -> Vec<(&'static str, Value)> {
    const NEXT: &str = "/queue/next-job";
    const ONE: &str = "/queue/job/{job_id}";
    const COMPLETE: &str = "/queue/job/{job_id}/complete";
    const FAIL: &str = "/queue/job/{job_id}/fail";
    const HEARTBEAT: &str = "/queue/job/{job_id}/heartbeat";
    let id = domain::JobId::of(MessageId::derived(&["example"])).to_string();
    let id = [("job_id", id.as_str())];
    let waiting = format!("{FOR_ACME}&wait=20&lease=120");
    let done = json!({ "result": { "answered": true } });
    let failed = json!({ "reason": "the model was not reached", "retry": true });
    let status = Http { method: "GET", route: "/", path: "/".into(), ..Http::default() };
    vec![
        ("api-queue/next", api("GET", NEXT, &[], FOR_ACME, None)),
        ("api-queue/next_waiting", api("GET", NEXT, &[], &waiting, None)),
        ("api-queue/get", api("GET", ONE, &id, FOR_ACME, None)),
        ("api-queue/complete", api("POST", COMPLETE, &id, FOR_ACME, Some(done))),
        ("api-queue/fail", api("POST", FAIL, &id, FOR_ACME, Some(failed))),
        ("api-queue/heartbeat", api("POST", HEARTBEAT, &id, FOR_ACME, None)),
        ("api-status/get", status.event()),
        ("api-status/figures", api("GET", "/status", &[], FOR_ACME, None)),
    ]
}

fn dead_letter_requests() -> Vec<(&'static str, Value)> {
    const ALL: &str = "/dead-letters";
    const REDRIVE: &str = "/dead-letters/redrive";
    let of_reason =
        |dry_run: bool| json!({ "queue": "inbound", "reason": "invalid JSON", "dry_run": dry_run });
    vec![
        ("api-dead-letters/count", api("GET", ALL, &[], "", None)),
        ("api-dead-letters/list", api("GET", ALL, &[], "queue=inbound&limit=10", None)),
        ("api-dead-letters/redrive", api("POST", REDRIVE, &[], "", Some(of_reason(false)))),
        ("api-dead-letters/redrive_dry_run", api("POST", REDRIVE, &[], "", Some(of_reason(true)))),
    ]
}

fn event_requests() -> Vec<(&'static str, Value)> {
    const ALL: &str = "/events";
    const ONE: &str = "/events/{id}";
    const REPLAY_ONE: &str = "/events/{id}/replay";
    const REPLAY: &str = "/events/replay";
    const PROGRESS: &str = "/events/replays/{id}";
    let id = domain::EventId::derived(&["example"]).to_string();
    let id = [("id", id.as_str())];
    let replay = ReplayId::derived(&["example"]).to_string();
    let replay = [("id", replay.as_str())];
    let span = |dry_run: bool| {
        let (from, to) = ("2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z");
        json!({ "tenant": "acme", "provider": "stripe", "from": from, "to": to,
            "dry_run": dry_run })
    };
    let parked = format!("{FOR_ACME}&state=parked");
    let of_stripe = format!("{FOR_ACME}&provider=stripe&limit=10");
    let message = json!({ "tenant_id": "acme", "from": "+4915550009999", "to": "reception",
        "message": { "text": "Hello! Are you open today?" }, "message_id": "example-1",
        "timestamp": "2026-11-20T12:00:00Z", "contact_name": "Zoë Müller" });
    let token = json!({ "tenant_id": "acme", "identity": "anna", "ttl": 600 });
    let without_text = json!({ "tenant_id": "acme", "from": "+4915550009999", "to": "reception",
        "message": {}, "message_id": "example-2", "timestamp": whatsapp_cloud::example::AT });
    vec![
        ("api-events/list", api("GET", ALL, &[], FOR_ACME, None)),
        ("api-events/list_of_stripe", api("GET", ALL, &[], &of_stripe, None)),
        ("api-events/list_parked", api("GET", ALL, &[], &parked, None)),
        ("api-events/get", api("GET", ONE, &id, FOR_ACME, None)),
        ("api-events/replay_one", api("POST", REPLAY_ONE, &id, FOR_ACME, None)),
        ("api-events/replay", api("POST", REPLAY, &[], "", Some(span(false)))),
        ("api-events/replay_dry_run", api("POST", REPLAY, &[], "", Some(span(true)))),
        ("api-events/get_replay", api("GET", PROGRESS, &replay, FOR_ACME, None)),
        ("api-voice/token", api("POST", "/voice/token", &[], "", Some(token))),
        ("inbound/message", api("POST", "/webhook/inbound", &[], "", Some(message))),
        ("inbound/without_text", api("POST", "/webhook/inbound", &[], "", Some(without_text))),
    ]
}
