//! What the fuzz target does: one webhook, whose name the environment variable `WEBHOOK` holds,
//! and any request.
//!
//! An input is a request as text: a line with the method and the query, lines of headers, an
//! empty line, and the body. `cargo xtask fuzz` makes the corpus from the providers' examples.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::LazyLock;

use domain::integration::Integration;
use domain::webhook::{
    Delivery, LARGEST_BODY, Rejection, Verified, WebhookProvider, WebhookRequest, WebhookSource,
    receive,
};
use domain::{Credentials, IntegrationId, TenantId};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use providers::example::Examples;

pub use libfuzzer_sys;

/// When everything happens: 2026-11-20 12:00:00 UTC.
const NOW: i64 = 1_795_176_000;

/// What a request may allocate at its highest, in bytes. A webhook's function has 128 MB, of which
/// it uses 30 by itself, and what Lambda hands over is there three times before it is a request.
const ROOM: usize = 64 * 1024 * 1024;
/// One input in so many is also given as large as a request can be: that takes a while.
const GROWN: usize = 64;

/// Counts what this thread has allocated, and the most it had since that was last set.
struct Counting;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
    static HIGHEST: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(unsafe_code, reason = "an allocator is; it only counts and passes on")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that ends has no counter any more.
        let _gone = ALLOCATED.try_with(|all| {
            all.set(all.get().saturating_add(layout.size()));
            HIGHEST.try_with(|highest| highest.set(highest.get().max(all.get())))
        });
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // What another thread allocated was not counted here.
        let _gone = ALLOCATED.try_with(|all| all.set(all.get().saturating_sub(layout.size())));
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Believes everybody, so that the parser is reached.
struct Trusting(Box<dyn WebhookSource>);

impl WebhookSource for Trusting {
    fn verify(&self, _: &WebhookRequest, _: Timestamp) -> Result<(), Rejection> {
        Ok(())
    }

    fn parse(&self, request: &Verified<'_>) -> Result<Delivery, Rejection> {
        self.0.parse(request)
    }
}

/// The webhook that is fuzzed.
static WEBHOOK: LazyLock<&dyn WebhookProvider> = LazyLock::new(|| {
    let name = std::env::var("WEBHOOK").unwrap_or_else(|_| panic!("WEBHOOK names no webhook"));
    let found = providers::webhooks().find(|webhook| webhook.name() == name);
    found.unwrap_or_else(|| panic!("there is no webhook {name}"))
});

/// Hands one input to the webhook: as it is to the verifier and the parser, and now and
/// then as large as a request can be to the verifier, which a stranger reaches.
///
/// # Panics
/// If it is believed, or takes more memory than the function has: that is what is looked for.
pub fn drive(data: &[u8]) {
    let webhook = *WEBHOOK;
    let Some(request) = request(data) else { return };
    let now = Timestamp::from_second(NOW).unwrap_or_default();
    let integration = integration(webhook);
    let source = || webhook.source(&integration, &credentials(webhook));

    assert!(!fits(|| believed(&*source(), &request, now)), "it was believed without a secret");
    fits(|| receive(&Trusting(source()), &request, now).is_ok());
    let sum = data.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31) + usize::from(*byte));
    if sum % GROWN == 0 && !request.body.is_empty() {
        let times = LARGEST_BODY / request.body.len();
        let request = WebhookRequest { body: request.body.repeat(times).into(), ..request };
        assert!(!fits(|| believed(&*source(), &request, now)), "it was believed when it had grown");
    }
}

/// Whether a webhook takes a request for its provider's.
fn believed(source: &dyn WebhookSource, request: &WebhookRequest, now: Timestamp) -> bool {
    let _asked = source.evidence(request);
    match receive(source, request, now) {
        // Whoever asks for a proof that it is us gets one, or hears what the question lacks.
        Ok(Delivery::Handshake(_)) | Err(Rejection::Invalid(_)) => request.method != Method::GET,
        Ok(_) | Err(Rejection::Unreadable(_)) => true,
        Err(Rejection::Unauthenticated(_) | Rejection::Forbidden(_) | Rejection::TooLarge(_)) => {
            false
        }
    }
}

/// What `work` gives, if it fits into the function's memory.
fn fits<T>(work: impl FnOnce() -> T) -> T {
    let before = ALLOCATED.get();
    HIGHEST.set(before);
    let done = work();
    let allocated = HIGHEST.get().saturating_sub(before);
    assert!(allocated <= ROOM, "{allocated} bytes allocated at once; the function has {ROOM}");
    done
}

fn examples(webhook: &dyn WebhookProvider) -> &'static Examples {
    providers::example::of(webhook.provider())
}

/// The integration of the examples.
fn integration(webhook: &dyn WebhookProvider) -> Integration {
    let provider = webhook.provider();
    let mut settings = (examples(webhook).settings)();
    // The keys the corpus is signed with: without them the provider's own hold.
    settings.remove("public_keys");
    let settings = (providers::entry(provider).settings)(&settings);
    Integration {
        circuit: domain::circuit::Breaker::default(),
        id: IntegrationId::derived(&["fuzz"]),
        tenant: TenantId::platform(),
        provider,
        settings: settings.unwrap_or_else(|flaw| panic!("the example's settings: {flaw}")),
        account: None,
        hints: std::collections::BTreeMap::new(),
        created_at: Timestamp::UNIX_EPOCH,
        credentials_at: Timestamp::UNIX_EPOCH,
        tenant_credentials: std::collections::BTreeSet::new(),
        trusted_ingest: false,
    }
}

/// Secrets that no input has.
fn credentials(webhook: &dyn WebhookProvider) -> Credentials {
    let names = providers::entry(webhook.provider()).credentials.iter();
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
        evidence: None,
    })
}
