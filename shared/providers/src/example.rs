//! Example webhooks of every provider, in the formats the providers document; signed when they are
//! sent. For tests, event files and tools: no function links them.

use crate::spec::RequestedBy;
use bytes::Bytes;
use domain::event::{InboundEvent, ParsedEvent};
use domain::integration::FieldError;
use domain::webhook::{WebhookProvider, WebhookRequest};
use domain::{Credentials, Integration, IntegrationId, Provider, TenantId};
use http::{HeaderMap, Method};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

/// The examples of a provider.
#[derive(Clone, Copy, Debug)]
pub struct Examples {
    /// Its responses to messages, if the hub sends through it.
    pub answers: Option<Answers>,
    /// Its webhook events.
    pub events: &'static [Example],
    /// Its webhooks whose authentication does not cover each byte of the body, and what it covers
    /// instead. Only TLS protects such a body from changes in transit.
    pub unsigned_bodies: &'static [(&'static str, &'static str)],
    /// Credentials to sign and verify the events with: test values, which are public.
    pub credentials: fn() -> Credentials,
    /// The settings of an integration that receives the events, as in `POST /integrations`.
    pub settings: fn() -> Map<String, Value>,
    /// Signs a draft as the provider would, with the first value of each credential, for the given
    /// URL and time.
    pub sign: fn(&Example, &Draft, &Credentials, &str, Timestamp) -> WebhookRequest,
}

/// Example responses of a provider to messages that the hub sends through it.
#[derive(Clone, Copy, Debug)]
pub struct Answers {
    /// The settings of an integration that can send, as in `POST /integrations`.
    pub settings: fn() -> Map<String, Value>,
    /// The response to an accepted message: HTTP status and body.
    pub accepted: fn() -> (u16, Value),
    /// Errors in each format that the provider documents, for this HTTP status of 500 or above.
    /// Empty if the provider states that the message may have been accepted despite them.
    pub refused: fn(u16) -> Vec<Value>,
    /// Errors in a documented format after which the message may have been accepted nevertheless.
    pub in_doubt: fn() -> Vec<InDoubt>,
}

/// An error in a documented format that leaves open whether the message was accepted.
#[derive(Clone, Debug)]
pub struct InDoubt {
    /// HTTP status.
    pub status: u16,
    /// Body.
    pub body: Value,
    /// The documentation: a source listed in the provider's README.
    pub source: &'static str,
}

/// An example event.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// The webhook that receives it: the part of the function's name after `webhook-`.
    pub webhook: &'static str,
    /// Its name: lower-case words with underscores.
    pub name: &'static str,
    /// A description in one line.
    pub what: &'static str,
    /// Creates the request.
    pub draft: fn(&Seed) -> Draft,
}

/// Values that distinguish one example from the next.
#[derive(Clone, Debug)]
pub struct Seed {
    /// The time of the event.
    pub at: Timestamp,
    /// Lower-case letters and digits, at least 16; unique.
    pub nonce: String,
}

impl Seed {
    /// The time of events in files: 2026-11-20 12:00:00 UTC.
    pub const FIXED: Timestamp = Timestamp::constant(1_795_176_000, 0);

    /// Creates the seed for events in files: the same name gives the same seed.
    #[must_use]
    pub fn fixed(name: &str) -> Self {
        let nonce = crate::signature::fingerprint(name.as_bytes()).chars().take(24).collect();
        Self { at: Self::FIXED, nonce }
    }
}

impl Example {
    /// Returns the name that is unique among all examples.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.webhook, self.name)
    }
}

/// An unsigned request.
#[derive(Clone, Debug)]
pub struct Draft {
    /// HTTP method.
    pub method: Method,
    /// Query parameters.
    pub query: Vec<(String, String)>,
    /// Headers, except for those with the signature.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
}

/// A body, in a form in which fields can be changed.
#[derive(Clone, Debug)]
pub enum Body {
    /// No body.
    Empty,
    /// JSON.
    Json(Value),
    /// A form, in order.
    Form(Vec<(String, String)>),
    /// JSON from another source, kept byte for byte.
    Written(Bytes),
}

impl Body {
    /// Returns the bytes of the body.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        match self {
            Self::Empty => Bytes::new(),
            Self::Json(value) => value.to_string().into(),
            Self::Form(fields) => crate::form::encode(fields).into(),
            Self::Written(bytes) => bytes.clone(),
        }
    }

    /// Sets the field at `path`: names, and list indexes from 0, separated by dots. A text field
    /// stays text; otherwise `value` is JSON if it parses as JSON.
    ///
    /// # Errors
    /// [`NoSuchField`], naming the fields that exist.
    pub fn set(&mut self, path: &str, value: &str) -> Result<(), NoSuchField> {
        match self {
            Self::Empty => Err(NoSuchField("the request has no body".to_owned())),
            Self::Written(_) => Err(NoSuchField("this body cannot be changed".to_owned())),
            Self::Form(fields) => {
                match fields.iter_mut().find(|(name, _)| name == path) {
                    Some((_, old)) => value.clone_into(old),
                    None => fields.push((path.to_owned(), value.to_owned())),
                }
                Ok(())
            }
            Self::Json(body) => set(body, path, value),
        }
    }
}

/// The field to set does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoSuchField(String);

fn set(mut node: &mut Value, path: &str, value: &str) -> Result<(), NoSuchField> {
    let mut rest = path;
    loop {
        // A name may contain dots itself.
        let is_complete = node.get(rest).is_some();
        let (step, after) = match rest.split_once('.') {
            Some((step, after)) if !is_complete => (step, Some(after)),
            _ => (rest, None),
        };
        let Some(after) = after else { return put(node, step, value, path) };
        let known = names(node);
        let next = match node {
            Value::Object(fields) => fields.get_mut(step),
            Value::Array(items) => step.parse().ok().and_then(|at: usize| items.get_mut(at)),
            _ => None,
        };
        node = next.ok_or_else(|| missing(path, step, &known))?;
        rest = after;
    }
}

fn put(node: &mut Value, name: &str, value: &str, path: &str) -> Result<(), NoSuchField> {
    let known = names(node);
    let read = |old: Option<&Value>| match old {
        Some(Value::String(_)) => Value::from(value),
        _ => serde_json::from_str(value).unwrap_or_else(|_| Value::from(value)),
    };
    match node {
        Value::Object(fields) => {
            let value = read(fields.get(name));
            fields.insert(name.to_owned(), value);
            Ok(())
        }
        Value::Array(items) => {
            let item = name.parse().ok().and_then(|at: usize| items.get_mut(at));
            let item = item.ok_or_else(|| missing(path, name, &known))?;
            *item = read(Some(item));
            Ok(())
        }
        _ => Err(missing(path, name, &known)),
    }
}

/// Returns the names of the fields, for an error.
fn names(node: &Value) -> String {
    match node {
        Value::Object(fields) => fields.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        Value::Array(items) => format!("indexes below {}", items.len()),
        _ => "no fields".to_owned(),
    }
}

fn missing(path: &str, step: &str, known: &str) -> NoSuchField {
    NoSuchField(format!("{path}: no field `{step}`; available: {known}"))
}

impl Draft {
    /// Creates a POST request with a JSON body.
    #[must_use]
    pub fn json(body: Value) -> Self {
        Self::posted(Body::Json(body))
    }

    /// Creates a POST request with a form.
    #[must_use]
    pub fn form(fields: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self::posted(Body::Form(fields.iter().map(owned).collect()))
    }

    /// Creates a GET request with query parameters.
    #[must_use]
    pub fn get(query: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            method: Method::GET,
            query: query.iter().map(owned).collect(),
            headers: HeaderMap::new(),
            body: Body::Empty,
        }
    }

    /// Creates a POST request with this body.
    #[must_use]
    pub fn posted(body: Body) -> Self {
        Self { method: Method::POST, query: Vec::new(), headers: HeaderMap::new(), body }
    }

    /// Returns the request with this `body` and additional `headers`, for `url`, to which the query
    /// is added.
    #[must_use]
    pub fn request(&self, body: Bytes, headers: HeaderMap, url: &str) -> WebhookRequest {
        let mut all = self.headers.clone();
        let kind = match &self.body {
            Body::Empty => None,
            Body::Json(_) | Body::Written(_) => Some("application/json"),
            Body::Form(_) => Some("application/x-www-form-urlencoded"),
        };
        if let Some(kind) = kind
            && !all.contains_key(http::header::CONTENT_TYPE)
        {
            all.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
        }
        all.extend(headers);
        let url = if self.query.is_empty() {
            url.to_owned()
        } else {
            format!("{url}?{}", crate::form::encode(&self.query))
        };
        WebhookRequest {
            method: self.method.clone(),
            query: self.query.clone(),
            headers: all,
            body,
            path_suffix: None,
            url,
            signing_certificate: None,
        }
    }
}

macro_rules! examples {
    ($($(#[$doc:meta])* $variant:ident $name:ident $channels:expr,)*) => {
        /// Returns the examples of `provider`.
        #[must_use]
        pub const fn of(provider: Provider) -> &'static Examples {
            match provider {
                $(Provider::$variant => &crate::$name::example::EXAMPLES,)*
            }
        }
    };
}

domain::for_each_provider!(examples);

/// Returns the webhooks of all providers whose authentication does not cover each byte of the body,
/// and what it covers instead.
pub fn unsigned_bodies() -> impl Iterator<Item = (&'static str, &'static str)> {
    Provider::ALL.iter().flat_map(|provider| of(*provider).unsigned_bodies.iter().copied())
}

/// Whether the authentication of `webhook` covers each byte of the body.
#[must_use]
pub fn authenticates_body(webhook: &str) -> bool {
    unsigned_bodies().all(|(unsigned, _)| unsigned != webhook)
}

/// Returns the examples `name` of `whose`, a provider or one of its webhooks. Several webhooks of
/// one provider may have an example with the same name.
#[must_use]
pub fn find(whose: &str, name: &str) -> Vec<(Provider, &'static Example)> {
    let fits = |provider: &Provider, example: &Example| {
        example.name == name && (whose.parse().ok() == Some(*provider) || example.webhook == whose)
    };
    let all = Provider::ALL.iter().flat_map(|provider| {
        let own = of(*provider).events.iter().filter(|example| fits(provider, example));
        own.map(|example| (*provider, example))
    });
    let all: Vec<_> = all.collect();
    // A webhook with the same name as its provider takes precedence.
    let exact = |(_, example): &&(Provider, &Example)| example.webhook == whose;
    match all.iter().find(exact) {
        Some(one) => vec![*one],
        None => all,
    }
}

/// Returns every example with its provider.
pub fn all() -> impl Iterator<Item = (Provider, &'static Example)> {
    Provider::ALL
        .iter()
        .flat_map(|provider| of(*provider).events.iter().map(|example| (*provider, example)))
}

/// Returns the webhook that receives `example`.
///
/// # Panics
/// If `example` is not one of `provider`'s.
#[must_use]
#[expect(clippy::expect_used, reason = "a test checks that every example has a webhook")]
pub fn webhook(provider: Provider, example: &Example) -> &'static dyn WebhookProvider {
    let mut all = crate::spec(provider).webhooks.iter().copied();
    all.find(|webhook| webhook.name() == example.webhook).expect("the provider has the webhook")
}

/// Returns the body of `POST /integrations` for an integration that receives the examples.
#[must_use]
pub fn creation_request(provider: Provider, tenant: &TenantId) -> Value {
    let credentials = (of(provider).credentials)();
    let exposed = |values: &[secrecy::SecretString]| -> Value {
        match values {
            [one] => one.expose_secret().into(),
            several => several.iter().map(ExposeSecret::expose_secret).collect(),
        }
    };
    let credentials = credentials.iter().map(|(name, all)| (name.to_owned(), exposed(all)));
    let credentials: Map<_, _> = credentials.collect();
    let settings = (of(provider).settings)();
    json!({ "tenant": tenant, "provider": provider, "settings": settings, "credentials": credentials })
}

/// Returns the integration that the hub creates from [`creation_request`], with this `id`.
///
/// # Errors
/// [`FieldError`] if the examples' settings are not valid for their provider.
pub fn integration(
    provider: Provider,
    id: IntegrationId,
    tenant: TenantId,
) -> Result<Integration, FieldError> {
    made_of(provider, &(of(provider).settings)(), id, tenant)
}

/// Returns an integration that can send, for the responses in [`Answers`]; `None` if the hub does
/// not send through `provider`.
///
/// # Errors
/// [`FieldError`] if the settings are not valid for their provider.
pub fn sending_integration(
    provider: Provider,
    id: IntegrationId,
    tenant: TenantId,
) -> Result<Option<Integration>, FieldError> {
    let answers = of(provider).answers.as_ref();
    answers.map(|answers| made_of(provider, &(answers.settings)(), id, tenant)).transpose()
}

fn made_of(
    provider: Provider,
    settings: &Map<String, Value>,
    id: IntegrationId,
    tenant: TenantId,
) -> Result<Integration, FieldError> {
    let (entry, credentials) = (crate::spec(provider), (of(provider).credentials)());
    let settings = (entry.settings)(settings)?;
    let requested_by = if tenant.is_platform() { RequestedBy::Hub } else { RequestedBy::Operator };
    Ok(Integration {
        circuit: domain::circuit::Breaker::default(),
        id,
        account: (entry.account)(requested_by, &settings, &credentials)?,
        tenant,
        provider,
        settings,
        hints: credentials.hints(),
        created_at: Timestamp::UNIX_EPOCH,
        credentials_at: Timestamp::UNIX_EPOCH,
        tenant_credentials: std::collections::BTreeSet::new(),
        trusted_ingest: false,
    })
}

/// Signs `draft` for `url`, with the examples' credentials.
#[must_use]
pub fn signed(
    provider: Provider,
    example: &Example,
    draft: &Draft,
    url: &str,
    at: Timestamp,
) -> WebhookRequest {
    (of(provider).sign)(example, draft, &(of(provider).credentials)(), url, at)
}

/// Creates the event as the webhook function queues it, the `place`th of its request.
#[must_use]
pub fn into_inbound_event(
    event: ParsedEvent,
    integration: &Integration,
    now: Timestamp,
    place: u64,
) -> InboundEvent {
    let tenant = integration.tenant.clone();
    event.into_inbound_event(integration.provider, tenant, integration.id, now, place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(path: &str, value: &str) -> Result<Value, NoSuchField> {
        let mut body = Body::Json(json!({
            "data": { "amount": 1, "at": "5", "list": [{ "id": "a" }, 2] }, "a.b": { "c": 1 },
        }));
        body.set(path, value)?;
        Ok(serde_json::from_slice(&body.bytes()).unwrap())
    }

    #[test]
    fn a_field_is_set_and_text_stays_text() {
        assert_eq!(changed("data.amount", "5").unwrap()["data"]["amount"], 5);
        assert_eq!(changed("data.at", "6").unwrap()["data"]["at"], "6");
        assert_eq!(changed("data.list.0.id", "b").unwrap()["data"]["list"][0]["id"], "b");
        assert_eq!(changed("data.list.1", "{}").unwrap()["data"]["list"][1], json!({}));
        assert_eq!(changed("data.new", "x y").unwrap()["data"]["new"], "x y");
        assert_eq!(changed("a.b", "2").unwrap()["a.b"], 2);
    }

    #[test]
    fn an_unknown_field_is_reported_with_the_known_ones() {
        let error = changed("data.nothing.here", "1").unwrap_err().to_string();
        assert_eq!(error, "data.nothing.here: no field `nothing`; available: amount, at, list");
        let error = changed("data.list.2.id", "1").unwrap_err().to_string();
        assert_eq!(error, "data.list.2.id: no field `2`; available: indexes below 2");
        assert!(changed("data.amount.cents", "1").is_err());
        assert!(Body::Empty.set("a", "1").is_err());
    }

    #[test]
    fn a_form_field_is_set_or_added() {
        let mut body = Body::Form(vec![("From".to_owned(), "1".to_owned())]);
        body.set("From", "2").unwrap();
        body.set("To", "3 4").unwrap();
        assert_eq!(body.bytes(), "From=2&To=3+4");
    }

    #[test]
    fn every_example_has_a_webhook_of_its_provider() {
        for provider in Provider::ALL {
            for example in of(*provider).events {
                assert_eq!(webhook(*provider, example).name(), example.webhook, "{provider}");
            }
        }
    }
}
