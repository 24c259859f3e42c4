//! Provider webhooks from the examples: for each an integration, its secret, and a request that is
//! signed now, because most signatures expire within minutes.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::{
    Credentials, Integration, IntegrationId, Provider,
    webhook::{ParsedWebhook, WebhookProvider, WebhookRequest, receive},
};
use http::Method;
use jiff::Timestamp;
use providers::{
    example::{self, Seed},
    ses,
};
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::{
    error::{Error, Result},
    http::{Request, Response, Server},
};

/// Public base URL of the hub.
pub(crate) const BASE_URL: &str = "https://hub.example.com";

/// Providers whose webhooks come from the examples. The others have items and events in files.
pub(crate) fn providers() -> impl Iterator<Item = Provider> {
    let from_files = [Provider::WhatsappCloud, Provider::Telegram];
    Provider::ALL.iter().copied().filter(move |provider| !from_files.contains(provider))
}

/// The webhooks of these providers.
pub(crate) fn webhooks() -> impl Iterator<Item = &'static dyn WebhookProvider> {
    providers().flat_map(|provider| providers::spec(provider).webhooks.iter().copied())
}

/// The tenant's integration with a provider.
pub(crate) fn integration(provider: Provider) -> Result<Integration> {
    let wrong = |detail: &dyn ToString| Error::step(provider.as_str(), detail.to_string());
    let id = IntegrationId::derived(&["example", provider.as_str()]);
    let tenant = "acme".parse().map_err(|error| wrong(&error))?;
    example::integration(provider, id, tenant).map_err(|error| wrong(&error))
}

/// Credentials for sending, which the webhook examples do not have.
const SENDING_CREDENTIALS: [(Provider, &str, &str); 2] = [
    (Provider::Twilio, "TWILIO_API_KEY", "SK0123456789abcdef0123456789abcdef"),
    (Provider::Twilio, "TWILIO_API_SECRET", "example-api-secret"),
];

/// The credentials of a provider's integration in the format of its secret.
pub(crate) fn secret(provider: Provider) -> Result<Value> {
    let sending = SENDING_CREDENTIALS.iter().filter(|(owner, ..)| *owner == provider);
    let sending = sending.map(|(_, name, value)| ((*name).to_owned(), vec![(*value).into()]));
    let credentials = (example::of(provider).credentials)().merged(Credentials::new(sending));
    let credentials = credentials.iter().map(|(name, values)| {
        let values: Value = values.iter().map(ExposeSecret::expose_secret).collect();
        (name.to_owned(), values)
    });
    let credentials: Map<_, _> = credentials.collect();
    Ok(json!({ (integration(provider)?.id.to_string()): credentials }))
}

/// Text in the response of an accepted request to `webhook`.
pub(crate) fn answer(webhook: &dyn WebhookProvider) -> Result<String> {
    let status = webhook.accepted_by(&integration(webhook.provider())?).status;
    Ok(format!("\"statusCode\":{}", status.as_u16()))
}

/// An API Gateway event with a request to `webhook` that is signed now.
pub(crate) fn event(webhook: &dyn WebhookProvider) -> Result<Value> {
    #[expect(clippy::disallowed_methods, reason = "the functions run on the real clock")]
    let now = Timestamp::now();
    let integration = integration(webhook.provider())?;
    Ok(api_gateway_event(webhook, &integration, &request(webhook, &integration, now)?))
}

/// The request of the webhook's first example with an event. A handshake would end in the webhook
/// function.
fn request(
    webhook: &dyn WebhookProvider,
    integration: &Integration,
    now: Timestamp,
) -> Result<WebhookRequest> {
    let provider = webhook.provider();
    let examples = example::of(provider);
    let source = webhook.source(integration, &(examples.credentials)());
    let url = format!("{BASE_URL}{}", path(webhook, integration));
    let own = examples.events.iter().filter(|example| example.webhook == webhook.name());
    let mut requests = own.filter_map(|example| {
        let draft = (example.draft)(&Seed { at: now, ..Seed::fixed(&example.full_name()) });
        let posted = draft.method == Method::POST;
        posted.then(|| example::signed(provider, example, &draft, &url, now))
    });
    let has_event = |request: &WebhookRequest| {
        let delivery = receive(source.as_ref(), request, now);
        matches!(delivery, Ok(ParsedWebhook::Events(events)) if !events.is_empty())
    };
    let found = requests.find(has_event);
    found.ok_or_else(|| Error::step(webhook.name(), "none of its examples has an event"))
}

fn path(webhook: &dyn WebhookProvider, integration: &Integration) -> String {
    format!("/webhooks/{}/{}", webhook.path(), integration.id)
}

/// Creates an API Gateway event, payload version 2.0.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>
fn api_gateway_event(
    webhook: &dyn WebhookProvider,
    integration: &Integration,
    request: &WebhookRequest,
) -> Value {
    let (method, path) = (request.method.as_str(), path(webhook, integration));
    let route = format!("{method} /webhooks/{}/{{integration}}", webhook.path());
    let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let own = [("host", "hub.example.com"), ("user-agent", "example")];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let signed = request.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
    let headers: Map<_, _> =
        own.into_iter().chain(signed).map(|(name, value)| (name, value.into())).collect();
    json!({
        "version": "2.0",
        "routeKey": route,
        "rawPath": path,
        "rawQueryString": providers::form::encode(&request.query),
        "headers": headers,
        "pathParameters": { "integration": integration.id },
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "local",
            "domainName": "hub.example.com",
            "domainPrefix": "hub",
            "http": { "method": method, "path": path, "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1", "userAgent": "example" },
            "requestId": "request-1",
            "routeKey": route,
            "stage": "$default",
            "time": "20/Nov/2026:12:00:00 +0000",
            "timeEpoch": 1_795_176_000_000_i64,
        },
        "body": STANDARD.encode(&request.body),
        "isBase64Encoded": true,
    })
}

/// Starts the server that a provider's webhook needs: SES messages name their signing certificate,
/// and the examples define its URL.
pub(crate) fn served_by(provider: Provider) -> Result<Option<Server>> {
    if provider != Provider::Ses {
        return Ok(None);
    }
    let handler = |request: Request| match request.path.as_str() {
        ses::example::CERTIFICATE_PATH => Response {
            status: 200,
            headers: vec![("content-type", "application/x-pem-file".to_owned())],
            body: ses::example::CERTIFICATE.into(),
        },
        _ => Response::empty(404),
    };
    let host = ses::example::CERTIFICATE_HOST;
    let server = Server::at(host, Arc::new(handler), None);
    let server = server.map_err(|error| Error::step(host, error.to_string()))?;
    Ok(Some(server))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_795_176_123, 456_000_000);

    #[test]
    fn every_webhook_has_a_request_with_an_event_of_the_tenants_account() {
        for webhook in webhooks() {
            let integration = integration(webhook.provider()).unwrap();
            let request = request(webhook, &integration, NOW).unwrap();
            let credentials = (example::of(webhook.provider()).credentials)();
            let source = webhook.source(&integration, &credentials);
            let delivery = receive(source.as_ref(), &request, NOW).unwrap();
            let ParsedWebhook::Events(events) = delivery else { panic!("{}", webhook.name()) };
            for event in events {
                let own = integration.account.as_ref().is_none_or(|own| *own == event.account);
                assert!(own || event.account.is_empty(), "{}", webhook.name());
            }
        }
    }

    #[test]
    fn an_api_gateway_event_contains_the_signed_request() {
        let webhook = providers::webhook(Provider::Stripe).unwrap();
        let integration = integration(Provider::Stripe).unwrap();
        let request = request(webhook, &integration, NOW).unwrap();
        let event = api_gateway_event(webhook, &integration, &request);
        assert_eq!(event["rawPath"], format!("/webhooks/stripe/{}", integration.id));
        assert_eq!(event["requestContext"]["http"]["method"], "POST");
        assert_eq!(STANDARD.decode(event["body"].as_str().unwrap()).unwrap(), request.body);
        let signature = request.header("stripe-signature").unwrap();
        assert_eq!(event["headers"]["stripe-signature"], signature);
    }

    #[test]
    fn a_secret_is_keyed_by_the_integration() {
        let id = integration(Provider::Stripe).unwrap().id.to_string();
        let secret = secret(Provider::Stripe).unwrap();
        let values = secret[&id].as_object().unwrap().values();
        assert!(values.into_iter().all(|values| values[0].is_string()));
    }
}
