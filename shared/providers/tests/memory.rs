//! Memory that an unauthenticated request can make a webhook allocate.
//!
//! The only test in its process, because memory is counted for the whole process.

#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use domain::webhook::{Rejection, WebhookProvider, WebhookRequest, receive};
use domain::{Credentials, IntegrationId, Provider};
use http::{HeaderMap, HeaderValue, Method, header};
use peak_alloc::PeakAlloc;
use providers::example::{self, Seed};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Size of the largest body that Lambda may pass on, in bytes.
const SIZE: usize = 5_900_000;
/// Maximum allocation while reading it, in bytes. A webhook's function has 128 MB, of which it uses
/// 30 by itself, and Lambda's request is in memory three times before it is parsed.
const MAX_ALLOCATION: usize = 64 * 1024 * 1024;
/// Maximum time of a rejection, in a build without optimization.
const MAX_DURATION: Duration = Duration::from_secs(3);

/// The bodies: a name, the content type, the start, and the repeated part.
const BODIES: &[(&str, &str, &str, &str)] = &[
    ("fields", "application/x-www-form-urlencoded", "", "a&"),
    ("different fields", "application/x-www-form-urlencoded", "", "%61%62=1&"),
    ("one field", "application/x-www-form-urlencoded", "a=", "%ff"),
    ("a query", "application/x-www-form-urlencoded", "a=", "+"),
    ("lists", "application/json", "[", "[],"),
    ("objects", "application/json", "[", r#"{"a":0},"#),
    ("depth", "application/json", "", "["),
    ("names", "application/json", "{", r#""a":0,"#),
    ("an envelope", "application/json", r#"{"Type":"Notification","Message":""#, r"\u0001"),
    ("a signature", "application/json", r#"{"signature":{"token":""#, r"\u00e9"),
    (
        "parts",
        "multipart/form-data; boundary=x",
        "--x",
        "\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n--x",
    ),
    (
        "one part",
        "multipart/form-data; boundary=x",
        "--x\r\nContent-Disposition: form-data; name=a\r\n\r\n",
        "a",
    ),
    ("a part's head", "multipart/form-data; boundary=x", "--x\r\n", "a: b\r\n"),
    ("dashes", "multipart/form-data; boundary=x", "--x\r\n\r\n", "\r\n-"),
    ("text", "text/plain", "", "a.b."),
];

/// Returns every header that the webhook's examples are authenticated with, with a well-formed but
/// wrong value.
fn wrong_headers(webhook: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (provider, one) in example::all().filter(|(_, one)| one.webhook == webhook) {
        let draft = (one.draft)(&Seed::fixed(one.name));
        let url = "https://hub.example.com/webhooks";
        let signed = example::signed(provider, one, &draft, url, Seed::FIXED);
        for (name, value) in &signed.headers {
            headers.insert(name, value.clone());
        }
    }
    headers
}

/// Returns credentials that no example is signed with.
fn unrelated_credentials(provider: Provider) -> Credentials {
    let names = providers::spec(provider).credentials.iter();
    let secret = "d3b07384d113edec49eaa6238ad5ff00-c157a79031e1c40f85931829bc5fc552";
    Credentials::new(names.map(|name| ((*name).to_owned(), vec![secret.into()])))
}

/// Passes a request to the part of a webhook that runs before authentication. Returns the peak
/// allocation, the time and the rejection.
fn refuse(webhook: &dyn WebhookProvider, request: &WebhookRequest) -> (usize, Duration, Rejection) {
    let provider = webhook.provider();
    let integration = example::integration(
        provider,
        IntegrationId::derived(&["memory"]),
        "acme".parse().unwrap(),
    );
    let source = webhook.source(&integration.unwrap(), &unrelated_credentials(provider));
    MEMORY.reset_peak_usage();
    let (before, began) = (MEMORY.current_usage(), Instant::now());
    let certificate_url = source.signing_certificate_url(request);
    let refused = receive(source.as_ref(), request, Seed::FIXED).unwrap_err();
    let (took, peak) = (began.elapsed(), MEMORY.peak_usage());
    drop(certificate_url);
    (peak.saturating_sub(before), took, refused)
}

#[test]
fn an_unauthenticated_request_cannot_exceed_a_webhooks_memory() {
    let mut tried = BTreeSet::new();
    let mut wrong = Vec::new();
    for webhook in providers::webhooks() {
        let headers = wrong_headers(webhook.name());
        for (what, kind, start, repeated) in BODIES {
            let mut body = (*start).to_owned();
            body.reserve_exact(SIZE);
            body.push_str(&repeated.repeat((SIZE - start.len()) / repeated.len()));
            let mut headers = headers.clone();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            let request = WebhookRequest {
                method: Method::POST,
                headers,
                body: Bytes::from(body),
                url: "https://hub.example.com/webhooks".to_owned(),
                ..WebhookRequest::default()
            };
            let (allocated, took, refused) = refuse(webhook, &request);
            let is_rejected_before_authentication =
                matches!(refused, Rejection::Unauthenticated(_) | Rejection::TooLarge(_));
            if allocated > MAX_ALLOCATION
                || took > MAX_DURATION
                || !is_rejected_before_authentication
            {
                let name = webhook.name();
                wrong.push(format!("{name}: {what}: {allocated} bytes, {took:?}, {refused}"));
            }
            tried.insert((webhook.name(), *what));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(tried.len(), providers::webhooks().count() * BODIES.len());
}
