//! Receives Shopify's webhooks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::event::ParsedEvent;
use domain::webhook::{
    ParsedWebhook, Rejection, Verified, WebhookProvider, WebhookRequest, WebhookSource,
};
use domain::{Credentials, Integration, Provider};
use http::Method;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::value::RawValue;

use super::wire;
use crate::raw::{self, fit};
use crate::signature;
use crate::time::rfc3339;

/// Shopify's webhooks.
#[derive(Clone, Copy, Debug)]
pub struct Webhook;

impl WebhookProvider for Webhook {
    fn provider(&self) -> Provider {
        Provider::Shopify
    }

    fn source(&self, _: &Integration, credentials: &Credentials) -> Box<dyn WebhookSource> {
        Box::new(Source { secrets: credentials.all(super::API_SECRET).to_vec() })
    }
}

struct Source {
    secrets: Vec<SecretString>,
}

/// Header names of one of Shopify's two kinds of delivery. Source: README, facts 2 and 3.
struct HeaderNames {
    hmac: &'static str,
    topic: &'static str,
    domain: &'static str,
    version: &'static str,
    webhook_id: &'static str,
    event_id: &'static str,
    triggered_at: &'static str,
    /// The id that every delivery of this kind has.
    required_id: &'static str,
}

const WEBHOOKS: HeaderNames = HeaderNames {
    hmac: "x-shopify-hmac-sha256",
    topic: "x-shopify-topic",
    domain: "x-shopify-shop-domain",
    version: "x-shopify-api-version",
    webhook_id: "x-shopify-webhook-id",
    event_id: "x-shopify-event-id",
    triggered_at: "x-shopify-triggered-at",
    required_id: "x-shopify-webhook-id",
};

const EVENTS: HeaderNames = HeaderNames {
    hmac: "shopify-hmac-sha256",
    topic: "shopify-topic",
    domain: "shopify-shop-domain",
    version: "shopify-api-version",
    webhook_id: "shopify-webhook-id",
    event_id: "shopify-event-id",
    triggered_at: "shopify-triggered-at",
    required_id: "shopify-event-id",
};

/// An event has both kinds of headers, a webhook only its own.
fn names(request: &WebhookRequest) -> &'static HeaderNames {
    if request.headers.contains_key(EVENTS.hmac) { &EVENTS } else { &WEBHOOKS }
}

/// Returns a header that occurs once and is not empty.
fn required_header<'a>(
    request: &'a WebhookRequest,
    name: &'static str,
) -> Result<&'a str, Rejection> {
    let value = request.header(name)?.trim();
    if value.is_empty() {
        return Err(Rejection::Unauthenticated("a required header is empty"));
    }
    Ok(value)
}

impl WebhookSource for Source {
    /// Source: README, facts 1 and 3.
    fn verify(&self, request: &WebhookRequest, _: Timestamp) -> Result<(), Rejection> {
        if request.method != Method::POST {
            return Err(Rejection::Unauthenticated("not POST"));
        }
        if request.body.is_empty() {
            return Err(Rejection::Unauthenticated("the body is empty"));
        }
        let names = names(request);
        let given = STANDARD.decode(required_header(request, names.hmac)?).ok();
        let given = given.ok_or(Rejection::Unauthenticated("signature is not base64"))?;
        if !signature::is_hmac_sha256(&self.secrets, &[&request.body], &given) {
            return Err(Rejection::Unauthenticated("signature does not match"));
        }
        for name in [names.topic, names.domain, names.version, names.required_id] {
            required_header(request, name)?;
        }
        Ok(())
    }

    fn parse(&self, request: &Verified<'_>) -> Result<ParsedWebhook, Rejection> {
        let names = names(request);
        let topic = required_header(request, names.topic)?;
        let account = required_header(request, names.domain)?.to_ascii_lowercase();
        // A body that is not JSON is accepted: a subscription may use XML.
        let whole = raw::whole(&request.body);
        let object = Some(&*whole).filter(|whole| whole.get().starts_with('{'));
        let resource: wire::Resource<'_> = fit(object).unwrap_or_default();
        let name = match required_header(request, "shopify-action") {
            Ok(action) if names.hmac == EVENTS.hmac => format!("{topic}/{action}"),
            _ => topic.to_owned(),
        };
        let id = match required_header(request, names.webhook_id) {
            Ok(id) => id.to_owned(),
            // Several topics share an event's id.
            Err(_) => format!("{}:{name}", required_header(request, names.event_id)?),
        };
        let at = occurred_at(required_header(request, names.triggered_at).ok(), &resource);
        let key = required_header(request, "shopify-resource-id").ok().map(ToOwned::to_owned);
        let key = key.or_else(|| ordering_key(topic, &resource));
        let event = ParsedEvent::other(&account, id, &name, at, &whole);
        Ok(ParsedWebhook::Events(vec![ParsedEvent { ordering_key: key, ..event }]))
    }
}

fn occurred_at(triggered_at: Option<&str>, resource: &wire::Resource<'_>) -> Option<Timestamp> {
    let triggered_at = triggered_at.and_then(|time| time.parse().ok());
    let at = triggered_at.or_else(|| rfc3339(resource.updated_at));
    at.or_else(|| rfc3339(resource.created_at))
}

/// Returns the key that keeps the events of one order, product or customer in order.
fn ordering_key(topic: &str, resource: &wire::Resource<'_>) -> Option<String> {
    let family = topic.split('/').next().unwrap_or_default();
    let key = |family: &str, id: Option<&RawValue>| Some(format!("{family}:{}", wire::id(id)?));
    match family {
        // Events about an order have several topic prefixes.
        "fulfillments" | "fulfillment_events" | "order_transactions" | "refunds" => {
            key("orders", resource.order_id).or_else(|| key(family, resource.id))
        }
        "inventory_levels" => key("inventory_items", resource.inventory_item_id),
        // The two privacy topics have the customer in a nested object.
        "customers" => key(family, resource.id).or_else(|| {
            let customer: wire::Identified<'_> = fit(resource.customer)?;
            key(family, Some(customer.id))
        }),
        _ => key(family, resource.id),
    }
}
