//! Fuzz target for the webhook that the environment variable `WEBHOOK` names.
//!
//! An input is a request as text: a line with the method and the query, the header lines, an empty
//! line, and the body. `cargo xtask fuzz` creates the corpus from the providers' examples.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::LazyLock;

use domain::integration::Integration;
use domain::webhook::{
    ParsedWebhook, MAX_BODY_BYTES, Rejection, Verified, WebhookProvider, WebhookRequest, WebhookSource,
    receive,
};
use domain::{Credentials, IntegrationId, TenantId};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use providers::example::Examples;

pub use libfuzzer_sys;

/// The current time of every input: 2026-11-20 12:00:00 UTC.
const NOW: i64 = 1_795_176_000;

/// Most bytes that a request may allocate at a time. A webhook function has 128 MB, uses 30 MB
/// itself, and holds Lambda's event three times before it becomes a request.
const MEMORY_LIMIT: usize = 64 * 1024 * 1024;
/// One input in this many is also tested at the largest size of a request, which is slow.
const LARGE_INPUT_INTERVAL: usize = 64;

/// Allocator that counts the bytes this thread has allocated and their peak.
struct CountingAllocator;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
    static HIGHEST: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

#[expect(unsafe_code, reason = "`GlobalAlloc` is an unsafe trait")]
// SAFETY: every call is forwarded unchanged to the system allocator.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // The counters of an ending thread are already destroyed.
        let _gone = ALLOCATED.try_with(|all| {
            all.set(all.get().saturating_add(layout.size()));
            HIGHEST.try_with(|highest| highest.set(highest.get().max(all.get())))
        });
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // Memory from another thread was not counted in this thread.
        let _gone = ALLOCATED.try_with(|all| all.set(all.get().saturating_sub(layout.size())));
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Webhook source that skips verification, so that every input reaches the parser.
struct UnverifiedSource(Box<dyn WebhookSource>);

impl WebhookSource for UnverifiedSource {
    fn verify(&self, _: &WebhookRequest, _: Timestamp) -> Result<(), Rejection> {
        Ok(())
    }

    fn parse(&self, request: &Verified<'_>) -> Result<ParsedWebhook, Rejection> {
        self.0.parse(request)
    }
}

/// The fuzzed webhook.
static WEBHOOK: LazyLock<&dyn WebhookProvider> = LazyLock::new(|| {
    let name = std::env::var("WEBHOOK").unwrap_or_else(|_| panic!("WEBHOOK is not set"));
    let found = providers::webhooks().find(|webhook| webhook.name() == name);
    found.unwrap_or_else(|| panic!("WEBHOOK is unknown: {name}"))
});

/// Gives one input to the webhook's verifier and parser. Some inputs are also given to the
/// verifier, which unauthenticated requests reach, at the largest size of a request.
///
/// # Panics
/// If the webhook accepts the forged request or exceeds its function's memory.
pub fn drive(data: &[u8]) {
    let webhook = *WEBHOOK;
    let Some(request) = request(data) else { return };
    let now = Timestamp::from_second(NOW).unwrap_or_default();
    let integration = integration(webhook);
    let source = || webhook.source(&integration, &credentials(webhook));

    assert!(!within_memory(|| accepted(&*source(), &request, now)), "accepted without the secret");
    within_memory(|| receive(&UnverifiedSource(source()), &request, now).is_ok());
    let sum = data.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31) + usize::from(*byte));
    if sum % LARGE_INPUT_INTERVAL == 0 && !request.body.is_empty() {
        let times = MAX_BODY_BYTES / request.body.len();
        let request = WebhookRequest { body: request.body.repeat(times).into(), ..request };
        let forged = within_memory(|| accepted(&*source(), &request, now));
        assert!(!forged, "accepted at the largest size without the secret");
    }
}

/// Whether a webhook accepts a request as authentic.
fn accepted(source: &dyn WebhookSource, request: &WebhookRequest, now: Timestamp) -> bool {
    let _certificate_url = source.signing_certificate_url(request);
    match receive(source, request, now) {
        // A verification handshake by GET needs no signature: it gets a response or an error.
        Ok(ParsedWebhook::Handshake(_)) | Err(Rejection::Invalid(_)) => request.method != Method::GET,
        Ok(_) | Err(Rejection::Unreadable(_)) => true,
        Err(Rejection::Unauthenticated(_) | Rejection::Forbidden(_) | Rejection::TooLarge(_)) => {
            false
        }
    }
}

/// Runs `work` and panics if it exceeds the function's memory.
fn within_memory<T>(work: impl FnOnce() -> T) -> T {
    let before = ALLOCATED.get();
    HIGHEST.set(before);
    let done = work();
    let allocated = HIGHEST.get().saturating_sub(before);
    assert!(
        allocated <= MEMORY_LIMIT,
        "{allocated} bytes allocated at once; the function has {MEMORY_LIMIT}"
    );
    done
}

fn examples(webhook: &dyn WebhookProvider) -> &'static Examples {
    providers::example::of(webhook.provider())
}

/// The integration of the examples.
fn integration(webhook: &dyn WebhookProvider) -> Integration {
    let provider = webhook.provider();
    let mut settings = (examples(webhook).settings)();
    // Without the keys that sign the corpus, the provider's own public keys apply.
    settings.remove("public_keys");
    let settings = (providers::spec(provider).settings)(&settings);
    Integration {
        circuit: domain::circuit::Breaker::default(),
        id: IntegrationId::derived(&["fuzz"]),
        tenant: TenantId::platform(),
        provider,
        settings: settings.unwrap_or_else(|error| panic!("the example's settings: {error}")),
        account: None,
        hints: std::collections::BTreeMap::new(),
        created_at: Timestamp::UNIX_EPOCH,
        credentials_at: Timestamp::UNIX_EPOCH,
        tenant_credentials: std::collections::BTreeSet::new(),
        trusted_ingest: false,
    }
}

/// Secrets that no input contains.
fn credentials(webhook: &dyn WebhookProvider) -> Credentials {
    let names = providers::spec(webhook.provider()).credentials.iter();
    let secret = "d3b07384d113edec49eaa6238ad5ff00-c157a79031e1c40f85931829bc5fc552";
    Credentials::new(names.map(|name| ((*name).to_owned(), vec![secret.into()])))
}

fn request(data: &[u8]) -> Option<WebhookRequest> {
    let split = data.windows(2).position(|pair| pair == b"\n\n")?;
    let (head, body) = (data.get(..split)?, data.get(split + 2..)?);
    let mut lines = std::str::from_utf8(head).ok()?.split('\n');
    let (method, query) = lines.next()?.split_once(' ')?;
    let mut headers = HeaderMap::new();
    for line in lines.take(32) {
        let Some((name, value)) = line.split_once(": ") else { continue };
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    Some(WebhookRequest {
        method: Method::from_bytes(method.as_bytes()).ok()?,
        query: providers::form::decode(query.as_bytes()),
        headers,
        body: body.to_vec().into(),
        path_suffix: None,
        url: format!("https://hub.example.com/webhooks?{query}"),
        signing_certificate: None,
    })
}
