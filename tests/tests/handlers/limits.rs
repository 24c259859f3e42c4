//! Tests of limits: requests of a key and a tenant, waiting workers, and look-ups that cost nothing
//! twice.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use accounts::model::limits::{Counts, DEFAULT, LimitSettings, RateSettings};
use accounts::ports::{LimitReader, LimitWriter, PermitOutcome, RateCounter, RateWindow, Registry};
use accounts::rate_limit::KeyRateLimiter;
use domain::ports::{Clock, Directory, Rng};
use domain::tenant::{Scope, Tenant};
use domain::{KeyId, Provider, TenantId};
use futures::future::join_all;
use http::{HeaderMap, Method, StatusCode};
use jiff::Timestamp;
use lambda_http::Body;
use runtime::CachedDirectory;
use runtime::api::{
    ApiReply, ApiRequest, Params, Permit, Problem, RateLimiter, RequestClass, Resource, Route,
    answer, handle,
};
use serde_json::{Value, json};
use testkit::{FakeClock, Faults, SeededRng, sample};
use tests::sample::audit;
use work::waiting::HeldSlot;

use crate::addresses::tenants;
use crate::api::{Api, request};
use crate::common::{Table, World};
use crate::jobs::{WORKER, call, pull_world, queue, receive_text, status};

/// A resource that counts the requests that reach it.
#[derive(Default)]
struct Counted(AtomicU32);

#[derive(Clone, Copy)]
struct Any;

const fn route(method: &'static str, path: &'static str, scope: Scope) -> Route<Any> {
    let (summary, scope) = ("Count", Some(scope));
    Route {
        operation: Any,
        method,
        path,
        summary,
        scope,
        parameters: &[],
        request: None,
        answer: (204, None),
    }
}

impl Resource for Counted {
    type Operation = Any;
    const ROUTES: &'static [Route<Any>] =
        &[route("PUT", "/things", Scope::Admin), route("GET", "/things", Scope::Read)];

    async fn call(&self, _: Any, _: &ApiRequest, _: &Params<'_>) -> Result<ApiReply, Problem> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(ApiReply::empty())
    }
}

/// A request as API Gateway hands it over, with the context of the authorizer.
fn event(method: &str, path: &str, tenant: &TenantId, key: &str) -> lambda_http::Request {
    let event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "",
        "headers": {}, "isBase64Encoded": false,
        "requestContext": {
            "accountId": "1", "apiId": "a", "domainName": "h", "domainPrefix": "h",
            "requestId": "r", "routeKey": "$default", "stage": "$default", "time": "",
            "timeEpoch": 0,
            "authorizer": { "lambda": { "tenant": tenant, "scopes": "admin", "key": key } },
            "http": {
                "method": method, "path": path, "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1", "userAgent": "test",
            },
        },
    });
    lambda_http::request::from_str(&event.to_string()).unwrap()
}

/// The accounts table, and the clock of all sandboxes.
struct Accounts {
    clock: FakeClock,
    table: Table,
    acme: TenantId,
}

type Limiter = KeyRateLimiter<accounts::Repository, FakeClock>;

impl Accounts {
    fn new() -> Self {
        let clock = FakeClock::default();
        Self { table: Table::new(&clock), acme: sample::tenant("acme"), clock }
    }

    /// The limiter of a new sandbox, and the calls that it makes.
    fn sandbox(&self) -> (Limiter, Faults) {
        let faults = Faults::default();
        let store = self.table.store(&faults).accounts;
        (KeyRateLimiter::new(store, self.clock.clone()), faults)
    }

    async fn set(&self, settings: LimitSettings) {
        let store = &self.table.without_faults().accounts;
        store.set_limits(&self.acme, &settings, &audit(&self.acme)).await.unwrap();
    }

    /// Whether a request of acme's key is permitted.
    async fn passes(&self, limiter: &Limiter, key: KeyId, class: RequestClass) -> bool {
        matches!(limiter.take(&self.acme, key, class).await, Permit::Granted(_))
    }

    /// The permits that acme's keys took in this minute, of `key` and of all keys.
    async fn taken(&self, key: KeyId, class: RequestClass) -> Counts {
        let minute = self.clock.now().as_second().div_euclid(60);
        let window = RateWindow { tenant: &self.acme, key, class, minute };
        let none_left = Counts { key: 0, tenant: 0 };
        let store = &self.table.without_faults().accounts;
        match store.take_permits(window, 1, none_left).await.unwrap() {
            PermitOutcome::Exceeded(taken) => taken,
            PermitOutcome::Taken(taken) => panic!("beyond the limit: {taken:?}"),
        }
    }
}

fn key(number: u128) -> KeyId {
    KeyId::new(Timestamp::UNIX_EPOCH, number)
}

fn header(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

#[tokio::test]
async fn the_hundred_and_first_write_of_a_minute_is_refused_with_retry_after() {
    let accounts = Accounts::new();
    accounts.clock.advance(Duration::from_secs(43));
    let (limiter, _) = accounts.sandbox();
    let (resource, id) = (Counted::default(), key(1).to_string());
    let put = async || {
        let request = event("PUT", "/things", &accounts.acme, &id);
        answer(&resource, &limiter, None, request).await
    };
    for number in 1..=100 {
        let reply = put().await;
        assert_eq!(reply.status(), StatusCode::NO_CONTENT, "{number}");
        assert_eq!(header(reply.headers(), "ratelimit-limit"), Some(100));
        assert_eq!(header(reply.headers(), "ratelimit-remaining"), Some(100 - number));
        assert_eq!(header(reply.headers(), "ratelimit-reset"), Some(17));
        assert_eq!(header(reply.headers(), "retry-after"), None);
    }
    let refused = put().await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(header(refused.headers(), "retry-after"), Some(17));
    assert_eq!(header(refused.headers(), "ratelimit-remaining"), Some(0));
    let Body::Text(body) = refused.body() else { panic!("{refused:?}") };
    let problem: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&problem["code"], &problem["status"]), (&json!("rate_limited"), &json!(429)));
    assert_eq!(resource.0.load(Ordering::Relaxed), 100, "a refused request has no effect");
    // Reads have a limit of their own.
    let read = event("GET", "/things", &accounts.acme, &id);
    let read = answer(&resource, &limiter, None, read).await;
    assert_eq!(header(read.headers(), "ratelimit-limit"), Some(1000));
    accounts.clock.advance(Duration::from_secs(17));
    assert_eq!(put().await.status(), StatusCode::NO_CONTENT, "a new minute");
}

#[tokio::test]
async fn two_sandboxes_together_never_exceed_the_limit() {
    for seed in 0..40 {
        let rng = SeededRng::new(seed);
        let accounts = Accounts::new();
        let random = |max: u32| u32::try_from(rng.bits() % u128::from(max)).unwrap() + 1;
        let (of_key, of_tenant) = (random(60), random(120));
        let writes = |count| RateSettings { writes: Some(count), ..RateSettings::default() };
        let (key_limit, tenant_limit) = (writes(of_key), writes(of_tenant));
        accounts
            .set(LimitSettings { key: key_limit, tenant: tenant_limit, waiting_workers: None })
            .await;
        let sandboxes = [accounts.sandbox().0, accounts.sandbox().0];
        let mut passed = [0_u32; 3];
        for _round in 0..60 {
            // Both sandboxes process a request of each key at the same time.
            let requests = sandboxes.iter().flat_map(|sandbox| (0..3).map(move |k| (sandbox, k)));
            let requests = requests.filter(|_| !rng.bits().is_multiple_of(4)).collect::<Vec<_>>();
            let requests = requests.into_iter().map(async |(sandbox, k)| {
                let class = RequestClass::Writes;
                (k, accounts.passes(sandbox, key(k), class).await)
            });
            for (k, is_granted) in join_all(requests).await {
                passed[usize::try_from(k).unwrap()] += u32::from(is_granted);
            }
        }
        let total: u32 = passed.iter().sum();
        assert!(passed.iter().all(|passed| *passed <= of_key), "{seed}: {passed:?} of {of_key}");
        assert!(total <= of_tenant, "{seed}: {passed:?} of {of_tenant}");
        // Each key asked for about 90: the smaller limit is used up.
        let smaller = of_tenant.min(3 * of_key);
        assert!(total == smaller, "{seed}: {passed:?} of {smaller}");
    }
}

#[tokio::test]
async fn a_limited_request_costs_about_a_tenth_of_a_write() {
    for (class, requests, most) in
        [(RequestClass::Reads, 1000, 110), (RequestClass::Writes, 100, 17)]
    {
        let accounts = Accounts::new();
        let (limiter, faults) = accounts.sandbox();
        for number in 0..requests {
            assert!(accounts.passes(&limiter, key(1), class).await, "{number}");
        }
        assert!(!accounts.passes(&limiter, key(1), class).await);
        let calls = faults.log();
        let writes = calls.iter().filter(|call| call.starts_with("UpdateItem")).count();
        assert!(writes <= most, "{writes} writes for {requests} requests");
        assert_eq!(calls.len() - writes, 1, "the limits are read once: {calls:?}");
        let before = faults.calls();
        assert!(!accounts.passes(&limiter, key(1), class).await);
        assert_eq!(faults.calls(), before, "a refusal costs nothing once the limit is reached");
    }
}

#[tokio::test]
async fn few_requests_spread_over_many_sandboxes_are_all_permitted() {
    let accounts = Accounts::new();
    let class = RequestClass::Writes;
    for number in 0..100 {
        assert!(accounts.passes(&accounts.sandbox().0, key(1), class).await, "{number}");
    }
    assert!(!accounts.passes(&accounts.sandbox().0, key(1), class).await);
    assert_eq!(accounts.taken(key(1), class).await, Counts { key: 100, tenant: 100 });
}

#[tokio::test]
async fn while_the_table_is_down_requests_pass() {
    let accounts = Accounts::new();
    let (limiter, faults) = accounts.sandbox();
    let class = RequestClass::Writes;
    assert!(accounts.passes(&limiter, key(1), class).await);
    faults.fail_all();
    for _request in 0..3 {
        assert_eq!(limiter.take(&accounts.acme, key(1), class).await, Permit::Unlimited);
    }
    faults.clear();
    assert!(accounts.passes(&limiter, key(1), class).await);
    assert_eq!(accounts.taken(key(1), class).await.key, 3, "what was not checked is not counted");
}

#[tokio::test]
async fn the_operators_key_has_no_limit() {
    let accounts = Accounts::new();
    let (limiter, faults) = accounts.sandbox();
    let resource = Counted::default();
    let platform = TenantId::platform();
    let keys = [(&platform, "admin".to_owned()), (&platform, key(1).to_string())];
    for (tenant, key) in keys {
        let reply = answer(&resource, &limiter, None, event("PUT", "/things", tenant, &key)).await;
        assert_eq!(reply.status(), StatusCode::NO_CONTENT);
        assert_eq!(header(reply.headers(), "ratelimit-limit"), None);
    }
    assert_eq!(faults.calls(), 0);
}

#[tokio::test]
async fn only_the_operator_sets_the_limits_of_a_tenant() {
    let api = Api::new().await;
    let resource = tenants(&api);
    let (acme, platform) = (sample::tenant("acme"), TenantId::platform());
    let send = async |method, tenant: &TenantId, path, body: Value| {
        let reply = handle(&resource, &request(method, path, tenant, &body)).await?;
        Ok::<Value, Problem>(serde_json::from_str(&reply.body.unwrap()).unwrap())
    };
    let path = "/tenants/acme/limits";
    let set = json!({ "key": { "messages": 4800 }, "waiting_workers": 3 });
    let get = async || send(Method::GET, &acme, path, Value::Null).await.unwrap();
    assert_eq!(get().await, serde_json::to_value(DEFAULT).unwrap());
    let refused = send(Method::PUT, &acme, path, set.clone()).await.unwrap_err();
    assert_eq!((refused.status, refused.code.as_str()), (StatusCode::FORBIDDEN, "platform_only"));
    let limits = send(Method::PUT, &platform, path, set).await.unwrap();
    assert_eq!(limits, get().await);
    assert_eq!((&limits["key"]["messages"], &limits["key"]["writes"]), (&json!(4800), &json!(100)));
    assert_eq!(limits["waiting_workers"], 3);
    for (body, field) in [
        (json!({ "key": { "writes": 0 } }), "key.writes"),
        (json!({ "tenant": { "reads": 1_000_001 } }), "tenant.reads"),
        (json!({ "waiting_workers": 201 }), "waiting_workers"),
        (json!({ "key": { "sends": 1 } }), "key.sends"),
    ] {
        let problem = send(Method::PUT, &platform, path, body).await.unwrap_err();
        assert_eq!((problem.status.as_u16(), problem.field.as_deref()), (422, Some(field)));
    }
    assert_eq!(limits, get().await, "an invalid request changes nothing");
    for (tenant, path) in
        [(&platform, "/tenants/nobody/limits"), (&platform, "/tenants/platform/limits")]
    {
        let problem = send(Method::PUT, tenant, path, json!({})).await.unwrap_err();
        assert_eq!(problem.status, StatusCode::NOT_FOUND);
    }
    let foreign = send(Method::GET, &acme, "/tenants/spy/limits", Value::Null).await.unwrap_err();
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);
    // An empty body restores the defaults.
    send(Method::PUT, &platform, path, json!({})).await.unwrap();
    assert_eq!(api.store.accounts.limits(&acme).await.unwrap(), DEFAULT);
}

#[tokio::test]
async fn a_tenants_setting_replaces_the_default_limit() {
    let accounts = Accounts::new();
    let (limiter, _) = accounts.sandbox();
    let class = RequestClass::Messages;
    assert!(accounts.passes(&limiter, key(1), class).await);
    let of_key = RateSettings { messages: Some(3), ..RateSettings::default() };
    accounts.set(LimitSettings { key: of_key, ..LimitSettings::default() }).await;
    accounts.clock.advance(Duration::from_mins(1));
    let mut passed = 0;
    for _request in 0..10 {
        passed += u32::from(accounts.passes(&limiter, key(1), class).await);
    }
    assert_eq!(passed, 3);
    assert!(accounts.passes(&limiter, key(2), class).await, "another key has its own limit");
}

/// Leases a slot for a new sandbox, for 20 s.
async fn lease(world: &World, seed: u64) -> bool {
    let (jobs, limits, now) = (&world.store.jobs, &world.store.accounts, world.clock.now());
    let (rng, until) = (SeededRng::new(seed), now + Duration::from_secs(20));
    let slot = HeldSlot::default().lease(jobs, limits, &rng, &world.acme, now, until).await;
    slot.unwrap().is_some()
}

/// The response to a worker that waits, and how long it took.
async fn poll(world: &World, wait: u64) -> (Value, Duration) {
    let begin = Instant::now();
    let path = format!("/queue/next-job?wait={wait}");
    let answer = call(&queue(world), WORKER, Method::GET, &path, None).await.unwrap();
    (answer, begin.elapsed())
}

#[tokio::test]
async fn the_twenty_first_worker_that_waits_is_answered_at_once() {
    let world = pull_world(false).await;
    for seed in 0..20 {
        assert!(lease(&world, seed).await, "{seed}");
    }
    let (none, after) = poll(&world, 20).await;
    let expected = json!({ "status": "no_jobs", "queue_size": 0, "next_poll_recommended": 5 });
    assert_eq!(none, expected);
    assert!(after < Duration::from_secs(10), "{after:?}");
    // A job that is available is leased without a wait.
    receive_text(&world, "1", "wamid.1").await;
    assert_eq!(poll(&world, 20).await.0["status"], "processing");
    // The twenty sandboxes have crashed: none blocks its slot for longer than its wait.
    world.clock.advance(Duration::from_secs(20));
    let (_, after) = poll(&world, 1).await;
    assert!(after >= Duration::from_secs(1), "{after:?}");
}

#[tokio::test]
async fn workers_that_begin_to_wait_together_never_exceed_the_limit() {
    let world = pull_world(false).await;
    let waiting_workers = Some(7);
    let settings = LimitSettings { waiting_workers, ..LimitSettings::default() };
    world.store.accounts.set_limits(&world.acme, &settings, &audit(&world.acme)).await.unwrap();
    for seed in 0..30 {
        let workers = (0..12).map(|worker| lease(&world, 100 * seed + worker));
        let waiting = join_all(workers).await.into_iter().filter(|waits| *waits).count();
        assert!((1..=7).contains(&waiting), "{waiting}");
        world.clock.advance(Duration::from_secs(20));
    }
    let waiting_workers = Some(0);
    let settings = LimitSettings { waiting_workers, ..LimitSettings::default() };
    world.store.accounts.set_limits(&world.acme, &settings, &audit(&world.acme)).await.unwrap();
    assert!(!lease(&world, 1).await);
}

#[tokio::test]
async fn a_long_poll_costs_at_most_one_write_and_none_without_a_wait() {
    let world = pull_world(false).await;
    let resource = queue(&world);
    let writes_of = async |wait: u64| {
        let before = world.faults.log().len();
        let path = format!("/queue/next-job?wait={wait}");
        call(&resource, WORKER, Method::GET, &path, None).await.unwrap();
        let calls = world.faults.log().split_off(before);
        calls
            .iter()
            .filter(|call| !call.starts_with("GetItem") && !call.starts_with("Query"))
            .count()
    };
    assert_eq!(writes_of(0).await, 0);
    assert_eq!(writes_of(1).await, 1, "the worker takes a slot");
    assert_eq!(writes_of(1).await, 0, "the sandbox still holds it");
    world.clock.advance(Duration::from_millis(500));
    assert_eq!(writes_of(1).await, 1, "the sandbox extends its lease");
    world.clock.advance(Duration::from_secs(20));
    assert_eq!(writes_of(1).await, 1, "its lease had expired");
}

#[tokio::test]
async fn an_unknown_integration_is_looked_up_once() {
    let (clock, faults) = (FakeClock::default(), Faults::default());
    let table = Table::new(&clock);
    let directory = CachedDirectory::new(table.store(&faults).accounts, clock.clone());
    let integration = sample::telegram(&sample::tenant("acme"), Some("700000001"));
    let hash = "5e".repeat(32);
    let find = async || {
        let by_id = directory.integration(integration.id).await?;
        let by_path = directory.by_path_secret(Provider::Telegram, &hash).await?;
        Ok::<_, domain::ports::PortError>((by_id.is_some(), by_path.is_some()))
    };
    // An error of the table is no answer.
    faults.fail_all();
    assert!(find().await.is_err());
    faults.clear();
    let before = faults.calls();
    for _request in 0..100 {
        assert_eq!(find().await.unwrap(), (false, false));
    }
    assert_eq!(faults.calls() - before, 2, "one look-up for the id, one for the path");
    table.insert_integration(&integration, std::slice::from_ref(&hash)).await;
    clock.advance(Duration::from_secs(15));
    assert_eq!(find().await.unwrap(), (true, true), "it was created meanwhile");
    // Whoever asks for unknown ids does not displace what is known.
    for number in 0..3000 {
        let id = domain::IntegrationId::new(Timestamp::UNIX_EPOCH, number);
        assert!(directory.integration(id).await.unwrap().is_none());
    }
    let before = faults.calls();
    assert_eq!(find().await.unwrap(), (true, true));
    assert_eq!(faults.calls(), before);
}

#[tokio::test]
async fn the_health_check_reads_the_table_once_in_five_seconds() {
    let world = pull_world(false).await;
    let resource = status(&world);
    let health = async || call(&resource, ("nobody", &[]), Method::GET, "/", None).await;
    world.faults.fail_all();
    assert!(health().await.is_err());
    world.faults.clear();
    let before = world.faults.calls();
    for _request in 0..100 {
        assert_eq!(health().await.unwrap()["status"], "starting");
    }
    assert_eq!(world.faults.calls() - before, 1);
    world.clock.advance(Duration::from_secs(5));
    health().await.unwrap();
    assert_eq!(world.faults.calls() - before, 2);
}

#[tokio::test]
async fn a_new_tenant_has_the_default_limits() {
    let accounts = Accounts::new();
    let store = &accounts.table.without_faults().accounts;
    let (name, created_at) = ("Acme".to_owned(), accounts.clock.now());
    let tenant = Tenant { id: accounts.acme.clone(), name, created_at };
    store.create_tenant(&tenant, &audit(&accounts.acme)).await.unwrap();
    assert_eq!(store.limits(&accounts.acme).await.unwrap(), DEFAULT);
}
