//! Simulated AWS services around the hub: Lambda, SQS event source mappings, API Gateway and a
//! scheduler. All of them fail in the ways of the real ones.

#![expect(clippy::indexing_slicing, reason = "indexing a JSON value returns null if absent")]

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response};
use runtime::Environment;
use serde_json::{Value, json};
use simulator::deliver::{App, BoxFuture, Hub};
use testkit::cloud::client::{self, AwsRequest, AwsResponse, Service};
use testkit::cloud::dynamo::PartitionLimits;
use testkit::cloud::sqs::NoChaos;
use testkit::cloud::{Cloud, Refusal};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::deployment::{Deployment, Function};
use crate::faults::{Fault, InjectionPoint, Plan};
use crate::feature::{Part, Registry, Schedule, TableCall};
use crate::functions::{Instance, Output, SimulationKit};
use crate::history::History;
use crate::lineage::{self, Lineage};
use crate::monitor::{Monitor, partitions};
use crate::net::{self, Net};
use crate::random::Seed;
use crate::time::{self, VirtualClock};

/// Concurrent invocations of a function. The deployed limits are higher. Two are enough for
/// conflicts, and four leave room for frozen invocations.
const MAX_CONCURRENCY: usize = 4;
/// Delay of a late deletion, longer than every visibility timeout.
const LATE_DELETION: Duration = Duration::from_secs(500);

/// An outage of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The service.
    pub service: Service,
    /// Virtual time of the start.
    pub from: Duration,
    /// Virtual time of the end.
    pub until: Duration,
}

impl std::fmt::Display for Outage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let since = |at: Duration| at.saturating_sub(time::START).as_secs_f64();
        let (from, until) = (since(self.from), since(self.until));
        write!(f, "outage of {} from {from:.1} s to {until:.1} s", self.service.name())
    }
}

/// The simulated services of a run.
pub struct Machine {
    /// Seed of all randomness.
    pub seed: Seed,
    /// Faults of the run.
    pub plan: Plan,
    /// The deployment.
    pub deployment: Arc<Deployment>,
    /// The registered features.
    pub registry: Arc<Registry>,
    /// Their parts in this run.
    pub parts: Vec<Arc<dyn Part>>,
    /// Whether the queues show all behavior that SQS allows, such as duplicate delivery.
    pub nondeterministic_queues: bool,
    /// Whether all latencies are equal.
    pub equal_latencies: bool,
    /// Limits of each partition key of the table, if any.
    pub limits: Option<PartitionLimits>,
    secrets: Vec<&'static str>,
    schedules: Vec<Schedule>,
    outages: Vec<Outage>,
    faults_ended: AtomicBool,
    cloud: Mutex<Cloud>,
    history: Mutex<History>,
    monitor: Mutex<Monitor>,
    providers: OnceLock<App>,
    keys: Mutex<BTreeMap<String, Key>>,
    owners: Mutex<BTreeMap<String, String>>,
    exchanges: Mutex<Vec<Exchange>>,
    lambdas: Mutex<BTreeMap<String, Lambda>>,
    busy: Arc<AtomicUsize>,
    news: Notify,
    receives: Mutex<u64>,
}

/// An API key.
#[derive(Clone, Debug)]
pub struct Key {
    /// Tenant of the key.
    pub tenant: String,
    /// Scopes, separated by commas.
    pub scopes: String,
}

/// An exchange with a client or a provider.
#[derive(Clone, Debug)]
pub enum Exchange {
    /// A request to a provider or an automation.
    Call(Request<Bytes>),
    /// A response of the hub.
    Answer {
        /// Method and path of the request.
        to: String,
        /// The response.
        answer: Response<Bytes>,
    },
}

impl fmt::Display for Exchange {
    /// Formats the HTTP message with its headers in alphabetical order.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (headers, body) = match self {
            Self::Call(request) => {
                writeln!(f, "{} {}", request.method(), request.uri())?;
                (request.headers(), request.body())
            }
            Self::Answer { to, answer } => {
                writeln!(f, "{} to {to}", answer.status().as_u16())?;
                (answer.headers(), answer.body())
            }
        };
        let mut lines: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
            .collect();
        lines.sort_unstable();
        for line in lines {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "{}", String::from_utf8_lossy(body))
    }
}

/// State of a function in the Lambda service.
#[derive(Default)]
struct Lambda {
    idle: Vec<(Arc<Sandbox>, Arc<dyn Instance>)>,
    sandboxes: u64,
    invocations: u64,
    running: usize,
}

/// A sandbox: a process of a function.
#[derive(Debug)]
pub struct Sandbox {
    function: String,
    state: Mutex<SandboxState>,
    died: Notify,
}

/// Origin of a request.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The invocation.
    pub who: String,
    /// Tenants whose data it may access.
    pub tenants: BTreeSet<String>,
    /// Its trace header.
    pub trace: String,
}

/// Cause of an invocation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cause {
    /// Tenants whose data the invocation may access.
    pub(crate) tenants: BTreeSet<String>,
    /// The invocations before it in the same chain of requests.
    pub(crate) lineage: Lineage,
}

#[derive(Debug, Default)]
struct SandboxState {
    invocation: u64,
    calls: u64,
    tenants: BTreeSet<String>,
    trace: String,
    dead: bool,
    frozen_until: Option<Instant>,
}

/// Reasons why an invocation has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InvocationError {
    /// The process died.
    Died,
    /// The function exceeded its timeout.
    TimedOut,
    /// The function returned an error.
    Failed(String),
}

impl Sandbox {
    fn lock(&self) -> MutexGuard<'_, SandboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, and returns its injection point.
    pub(crate) fn next_call(&self) -> InjectionPoint {
        let mut state = self.lock();
        state.calls += 1;
        InjectionPoint {
            function: self.function.clone(),
            invocation: state.invocation,
            call: state.calls,
        }
    }

    /// Name of the current invocation.
    pub(crate) fn name(&self) -> String {
        format!("{}#{}", self.function, self.lock().invocation)
    }

    /// Origin of a request that is sent now. The request may arrive when the sandbox already
    /// processes another event.
    pub(crate) fn origin(&self) -> Origin {
        let state = self.lock();
        let who = format!("{}#{}", self.function, state.invocation);
        Origin { who, tenants: state.tenants.clone(), trace: state.trace.clone() }
    }

    /// Kills the process.
    pub(crate) async fn die(&self) -> Infallible {
        self.lock().dead = true;
        self.died.notify_one();
        std::future::pending().await
    }

    /// Freezes the process for a while.
    pub(crate) fn freeze(&self, how_long: Duration) {
        self.lock().frozen_until = Some(Instant::now() + how_long);
    }

    fn is_frozen(&self) -> bool {
        self.lock().frozen_until.is_some_and(|until| Instant::now() < until)
    }
}

/// Future that makes no progress while its process is frozen.
struct Freezable<F> {
    sandbox: Arc<Sandbox>,
    thaw: Option<Pin<Box<tokio::time::Sleep>>>,
    work: Pin<Box<F>>,
}

impl<F: Future> Future for Freezable<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let frozen_until = self.sandbox.lock().frozen_until;
        if let Some(until) = frozen_until.filter(|until| Instant::now() < *until) {
            let thaw = self.thaw.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
            if thaw.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
        self.thaw = None;
        self.work.as_mut().poll(context)
    }
}

/// Guard of work in progress.
#[derive(Debug)]
pub(crate) struct Busy(Arc<AtomicUsize>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// The components of a machine.
pub struct Parts {
    /// Seed of all randomness.
    pub seed: Seed,
    /// Faults of calls.
    pub plan: Plan,
    /// Outages of services.
    pub outages: Vec<Outage>,
    /// The deployment.
    pub deployment: Arc<Deployment>,
    /// The registered features.
    pub registry: Arc<Registry>,
    /// Their parts in this run; empty during the setup.
    pub parts: Vec<Arc<dyn Part>>,
    /// State of the cloud.
    pub cloud: Cloud,
    /// API keys.
    pub keys: BTreeMap<String, Key>,
    /// Tenant of each integration, webhook path and account.
    pub owners: BTreeMap<String, String>,
    /// See [`Machine::nondeterministic_queues`].
    pub nondeterministic_queues: bool,
    /// See [`Machine::equal_latencies`].
    pub equal_latencies: bool,
    /// See [`Machine::limits`].
    pub limits: Option<PartitionLimits>,
}

impl Machine {
    /// Creates a machine with its provider simulator.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let machine = Arc::new(Self {
            seed: parts.seed,
            plan: parts.plan,
            deployment: parts.deployment,
            secrets: parts.registry.secrets(),
            schedules: parts.registry.schedules(),
            registry: parts.registry,
            parts: parts.parts,
            nondeterministic_queues: parts.nondeterministic_queues,
            equal_latencies: parts.equal_latencies,
            limits: parts.limits,
            outages: parts.outages,
            faults_ended: AtomicBool::new(false),
            cloud: Mutex::new(parts.cloud),
            history: Mutex::default(),
            monitor: Mutex::default(),
            providers: OnceLock::new(),
            keys: Mutex::new(parts.keys),
            owners: Mutex::new(parts.owners),
            exchanges: Mutex::default(),
            lambdas: Mutex::default(),
            busy: Arc::default(),
            news: Notify::new(),
            receives: Mutex::default(),
        });
        let hub = HubHandle(Arc::downgrade(&machine));
        let app = App::in_process(simulator::clock::Clock::Given(time::now_ms), Arc::new(hub));
        // The cell is empty, so this always succeeds.
        drop(machine.providers.set(app));
        machine
    }

    /// The provider simulator, including automations.
    #[must_use]
    pub fn providers(&self) -> &App {
        // Always set by `new`.
        self.providers.get_or_init(|| App::new(simulator::clock::Clock::Given(time::now_ms)))
    }

    /// Locks the cloud.
    pub fn cloud(&self) -> MutexGuard<'_, Cloud> {
        self.cloud.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the observations.
    pub fn monitor(&self) -> MutexGuard<'_, Monitor> {
        self.monitor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the API keys.
    pub fn keys(&self) -> MutexGuard<'_, BTreeMap<String, Key>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the tenants of integrations, webhook paths and accounts.
    pub fn owners(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All requests to providers and automations so far.
    #[must_use]
    pub fn provider_calls(&self) -> Vec<Request<Bytes>> {
        let calls = self.exchanges().into_iter().filter_map(|exchange| match exchange {
            Exchange::Call(request) => Some(request),
            Exchange::Answer { .. } => None,
        });
        calls.collect()
    }

    /// All exchanges with clients and providers so far.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn record(&self, exchange: Exchange) {
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner).push(exchange);
    }

    fn lambdas(&self) -> MutexGuard<'_, BTreeMap<String, Lambda>> {
        self.lambdas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends an entry to the history.
    pub fn log(&self, who: impl Into<String>, what: impl Into<String>) {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).push(who, what);
    }

    /// The history so far.
    #[must_use]
    pub fn history(&self) -> History {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends all faults.
    pub fn end_faults(&self) {
        self.faults_ended.store(true, Ordering::Relaxed);
        self.log("world", "all faults have ended");
    }

    /// Whether all faults have ended.
    #[must_use]
    pub fn faults_have_ended(&self) -> bool {
        self.faults_ended.load(Ordering::Relaxed)
    }

    /// Whether the service that `what` names has an outage.
    pub(crate) fn has_outage(&self, what: &str) -> bool {
        let now = time::elapsed();
        !self.faults_have_ended()
            && self.outages.iter().any(|outage| {
                what.starts_with(outage.service.name()) && outage.from <= now && now < outage.until
            })
    }

    /// Latency of a request and of its response.
    pub(crate) fn latency(&self, point: &InjectionPoint) -> (Duration, Duration) {
        if self.equal_latencies {
            return (Duration::from_millis(2), Duration::from_millis(2));
        }
        let bits = self.seed.bits(("latency", point));
        // Mostly low, sometimes so high that later requests overtake.
        let slow = if bits.is_multiple_of(23) { 400 } else { 1 };
        let part = |bits: u64| Duration::from_millis(1 + (bits % 12) * slow);
        (part(bits >> 8), part(bits >> 24))
    }

    /// Backoff jitter of the SDK, below `most_ms`.
    pub(crate) fn jitter(&self, sandbox: &Sandbox, most_ms: u64) -> u64 {
        let state = sandbox.lock();
        self.seed.below(("jitter", &sandbox.function, state.invocation, state.calls), most_ms)
    }

    /// Marks work in progress until the guard is dropped.
    pub(crate) fn busy(&self) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(self.busy.clone())
    }

    /// Wakes the event source mappings, because a queue may have records.
    pub fn wake(&self) {
        self.news.notify_waiters();
    }

    /// Whether no work is in progress.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0
    }

    // ---- AWS services -----------------------------------------------------------------------

    /// Executes an AWS request and returns the response.
    pub(crate) fn serve(&self, origin: &Origin, request: &AwsRequest, half: bool) -> AwsResponse {
        let who = &origin.who;
        if request.service != Service::SecretsManager {
            let body = String::from_utf8_lossy(&request.body);
            self.monitor().check_secrets(who, &body, &self.secrets);
        }
        let done = match request.service {
            Service::S3 => self.serve_object(request),
            _ => self.serve_json(origin, request, half).map(|answer| answer.to_string().into()),
        };
        let response = match &done {
            Ok(body) => AwsResponse { status: 200, body: body.clone() },
            Err(refusal) => error_response(request.service, refusal),
        };
        let result = done.as_ref().map_or_else(|refusal| refusal.code.as_str(), |_| "done");
        self.log(who.clone(), format!("{request} {}: {result}", subject(request)));
        if let Err(refusal) = done {
            self.monitor().check_refusal(who, &request.to_string(), &refusal);
        }
        if request.service == Service::Sqs {
            self.news.notify_waiters();
        }
        response
    }

    fn serve_object(&self, request: &AwsRequest) -> Result<Bytes, Refusal> {
        let (bucket, key) = request.path.split_once('/').unwrap_or((request.path.as_str(), ""));
        let mut cloud = self.cloud();
        if request.operation == "PutObject" {
            cloud.s3.put(bucket, key, &request.content_type, request.body.to_vec())?;
            return Ok(Bytes::new());
        }
        cloud.s3.get(bucket, key).map(|object| Bytes::from(object.bytes.clone()))
    }

    fn serve_json(
        &self,
        origin: &Origin,
        request: &AwsRequest,
        half: bool,
    ) -> Result<Value, Refusal> {
        let mut body: Value = serde_json::from_slice(&request.body)
            .map_err(|error| Refusal::new("SerializationException", error.to_string()))?;
        let cut = if half { cut_in_half(&mut body) } else { Value::Null };
        let now_ms = time::now_ms();
        let mut cloud = self.cloud();
        // Half of a batch of one is empty, which AWS would reject.
        let nothing = half && is_empty_batch(&body);
        let mut answer = match request.service {
            _ if nothing => json!({ "Successful": [] }),
            Service::DynamoDb => {
                let mut monitor = self.monitor();
                monitor.check_tenant_isolation(
                    &origin.who,
                    &origin.tenants,
                    &request.operation,
                    &body,
                );
                let call = TableCall { origin, operation: &request.operation, body: &body };
                for part in &self.parts {
                    part.table_call_begins(&call, &cloud, &mut monitor);
                }
                let answer = cloud.dynamo.call(&request.operation, &body, now_ms);
                for part in &self.parts {
                    part.table_call_ended(&call, &cloud, &mut monitor);
                }
                answer?
            }
            Service::Sqs => {
                lineage::annotate(&request.operation, &mut body, &origin.trace);
                cloud.sqs.call(&request.operation, &body, now_ms, &mut NoChaos)?
            }
            Service::SecretsManager => cloud.secrets.call(&request.operation, &body, now_ms)?,
            Service::Kms => cloud.kms.call(&request.operation, &body)?,
            Service::S3 => Value::Null,
        };
        match &cut {
            Value::Object(unprocessed) => answer["UnprocessedItems"] = unprocessed.clone().into(),
            Value::Array(entries) => {
                let failed = entries.iter().map(|entry| {
                    json!({ "Id": entry["Id"], "Code": "InternalError", "SenderFault": false })
                });
                answer["Failed"] = failed.collect::<Vec<_>>().into();
            }
            _ => {}
        }
        Ok(answer)
    }

    /// Sends a request to a provider or an automation.
    pub(crate) async fn call_provider(
        &self,
        origin: Origin,
        what: &str,
        request: Request<Bytes>,
    ) -> Option<Response<Bytes>> {
        let who = origin.who;
        self.record(Exchange::Call(request.clone()));
        for part in &self.parts {
            part.provider_call_begins(&who, &request, &self.cloud(), &mut self.monitor());
        }
        let (head, body) = request.into_parts();
        let providers = self.providers();
        let answer =
            simulator::server::route(providers, &head.method, &head.uri, &head.headers, &body);
        let answer = net::to_response(answer.await).await;
        let result = answer.as_ref().map_or("no response".to_owned(), |a| a.status().to_string());
        self.log(who, format!("{what}: {result}"));
        answer
    }

    // ---- Lambda -----------------------------------------------------------------------------

    /// Invokes a function.
    pub(crate) async fn invoke(
        self: &Arc<Self>,
        function: &Function,
        event: Value,
        Cause { tenants, lineage }: Cause,
    ) -> (u64, Result<Output, InvocationError>) {
        let _busy = self.busy();
        let (sandbox, instance) = match self.sandbox(function) {
            Ok(pair) => pair,
            Err(error) => return (0, Err(InvocationError::Failed(error))),
        };
        let number = {
            let mut lambdas = self.lambdas();
            let lambda = lambdas.entry(function.name.clone()).or_default();
            lambda.invocations += 1;
            lambda.running += 1;
            lambda.invocations
        };
        let trace = lineage.passed(&function.name).to_string();
        *sandbox.lock() =
            SandboxState { invocation: number, tenants, trace, ..SandboxState::default() };
        let name = sandbox.name();
        let limit = Duration::from_secs(function.timeout_s);
        let work = {
            let (instance, guard) = (instance.clone(), self.busy());
            async move {
                let done = instance.invoke(event).await;
                drop(guard);
                done
            }
        };
        let work = Freezable { sandbox: sandbox.clone(), thaw: None, work: Box::pin(work) };
        let mut task = tokio::spawn(work);
        let ended = tokio::select! {
            biased;
            () = sandbox.died.notified() => {
                task.abort();
                Err(InvocationError::Died)
            }
            done = &mut task => match done {
                Ok(Ok(output)) => Ok(output),
                Ok(Err(error)) => Err(InvocationError::Failed(error)),
                Err(error) => {
                    self.monitor().record_panic(&name, &error.to_string());
                    Err(InvocationError::Failed("panicked".to_owned()))
                }
            },
            () = tokio::time::sleep(limit) => {
                // A frozen process does not receive the service's signal. It continues after it
                // thaws, as if the invocation had not timed out.
                if !sandbox.is_frozen() {
                    task.abort();
                }
                Err(InvocationError::TimedOut)
            }
        };
        {
            let mut lambdas = self.lambdas();
            let lambda = lambdas.entry(function.name.clone()).or_default();
            lambda.running -= 1;
            if matches!(ended, Ok(_) | Err(InvocationError::Failed(_))) {
                lambda.idle.push((sandbox, instance));
            }
        }
        match &ended {
            Ok(_) => {}
            Err(InvocationError::Died) => self.log(name, "the process died"),
            Err(InvocationError::TimedOut) => self.log(name, "timed out"),
            Err(InvocationError::Failed(error)) => self.log(name, format!("failed: {error}")),
        }
        // Its locks and concurrency are free again.
        self.news.notify_waiters();
        (number, ended)
    }

    /// Returns an idle sandbox of a function, or a new one.
    fn sandbox(
        self: &Arc<Self>,
        function: &Function,
    ) -> Result<(Arc<Sandbox>, Arc<dyn Instance>), String> {
        let number = {
            let mut lambdas = self.lambdas();
            let lambda = lambdas.entry(function.name.clone()).or_default();
            if let Some(idle) = lambda.idle.pop() {
                return Ok(idle);
            }
            lambda.sandboxes += 1;
            lambda.sandboxes
        };
        let sandbox = Arc::new(Sandbox {
            function: function.name.clone(),
            state: Mutex::default(),
            died: Notify::new(),
        });
        let net = Net::new(self.clone(), sandbox.clone());
        // The connector retries itself, with jitter from the seed.
        let aws = client::config(net.clone(), VirtualClock);
        let mut variables = function.environment.clone();
        if let Some(place) = variables.get_mut("CREDENTIAL_STORE")
            && self.seed.below("credential store", 2) == 1
        {
            "table".clone_into(place);
        }
        let environment = Environment::Given(variables);
        let rng = self.seed.rng(("rng", &function.name, number));
        let kit = SimulationKit::new(aws, environment, net, VirtualClock, rng);
        let instance: Arc<dyn Instance> = self.registry.function(&function.name, &kit)?.into();
        Ok((sandbox, instance))
    }

    /// Creates a function and keeps it idle, like a cold start.
    ///
    /// # Errors
    /// If no feature has the function, or its environment is incomplete.
    pub fn create_idle_sandbox(self: &Arc<Self>, function: &Function) -> Result<(), String> {
        let made = self.sandbox(function)?;
        self.lambdas().entry(function.name.clone()).or_default().idle.push(made);
        Ok(())
    }

    /// Drops all sandboxes, which have a reference cycle with the machine.
    pub fn shut_down(&self) {
        self.lambdas().clear();
    }

    // ---- Queues -----------------------------------------------------------------------------

    /// Starts the event source mappings and schedules.
    pub fn begin(self: &Arc<Self>) {
        for function in self.deployment.functions.values() {
            if function.reads.is_some() {
                let (machine, function) = (self.clone(), function.clone());
                tokio::spawn(async move { machine.poll_queue(&function).await });
            }
        }
        for schedule in self.schedules.clone() {
            let machine = self.clone();
            tokio::spawn(async move { machine.tick(schedule).await });
        }
    }

    async fn poll_queue(self: Arc<Self>, function: &Function) {
        let Some((queue, most)) = &function.reads else { return };
        let Some(url) = self.deployment.queues.get(queue).map(|queue| queue.url.clone()) else {
            return;
        };
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            // Enabled before the receive, so that no wake-up is missed.
            news.as_mut().enable();
            let running = self.lambdas().get(&function.name).map_or(0, |lambda| lambda.running);
            let received =
                if running < MAX_CONCURRENCY { self.receive(&url, *most) } else { Vec::new() };
            if received.is_empty() {
                let next_ms = self.cloud().sqs.next_visible_ms(&url);
                match next_ms.filter(|_| running < MAX_CONCURRENCY) {
                    Some(next_ms) => {
                        let wait = u64::try_from(next_ms - time::now_ms()).unwrap_or(0).max(1);
                        tokio::select! {
                            biased;
                            () = news => {}
                            () = tokio::time::sleep(Duration::from_millis(wait)) => {}
                        }
                    }
                    None => news.await,
                }
                continue;
            }
            let (machine, own, url) = (self.clone(), function.clone(), url.clone());
            let guard = self.busy();
            tokio::spawn(async move {
                machine.process(&own, &url, received).await;
                drop(guard);
            });
            // Lets records accumulate, for batches of different sizes.
            let wait = if self.equal_latencies {
                5
            } else {
                1 + self.seed.below(("gather", time::now_us()), 30)
            };
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
    }

    fn receive(&self, url: &str, most: u64) -> Vec<Value> {
        let request = json!({
            "QueueUrl": url, "MaxNumberOfMessages": most,
            "MessageSystemAttributeNames": ["All"], "MessageAttributeNames": ["All"],
        });
        let now_ms = time::now_ms();
        let mut cloud = self.cloud();
        let answer = if self.nondeterministic_queues {
            let mut receives = self.receives.lock().unwrap_or_else(PoisonError::into_inner);
            *receives += 1;
            let mut nondeterminism =
                crate::run::SqsNondeterminism(self.seed.rng(("nondeterminism", url, *receives)));
            cloud.sqs.call("ReceiveMessage", &request, now_ms, &mut nondeterminism)
        } else {
            cloud.sqs.call("ReceiveMessage", &request, now_ms, &mut NoChaos)
        };
        match answer {
            Ok(answer) => answer["Messages"].as_array().cloned().unwrap_or_default(),
            Err(refusal) => {
                self.monitor().check_refusal("queue service", "SQS ReceiveMessage", &refusal);
                Vec::new()
            }
        }
    }

    /// Invokes a function with records, and deletes those that were processed.
    async fn process(self: &Arc<Self>, function: &Function, url: &str, received: Vec<Value>) {
        let lineage = Lineage::of_batch(&received);
        let is_stopped = !function.may_recurse && lineage.is_recursive_loop(&function.name);
        self.monitor().check("loops-allowed", !is_stopped, || {
            format!("Lambda does not invoke {}: it is in a recursive loop", function.name)
        });
        if is_stopped {
            // The event source mapping retries until the queue moves the records to its dead-letter
            // queue.
            self.log(&function.name, "not invoked: recursive loop");
            return;
        }
        let mut tenants = BTreeSet::new();
        for message in &received {
            let body = message["Body"].as_str().unwrap_or_default();
            self.tenants_of(body, &mut tenants);
        }
        let event = records(url, &received);
        let (invocation, ended) = self.invoke(function, event, Cause { tenants, lineage }).await;
        let Ok(Output::Json(answer)) = ended else { return };
        let failed = answer["batchItemFailures"].as_array().cloned().unwrap_or_default();
        let has_failed = |message: &Value| {
            failed.iter().any(|failure| failure["itemIdentifier"] == message["MessageId"])
        };
        let done: Vec<&Value> = received.iter().filter(|message| !has_failed(message)).collect();
        let point = InjectionPoint { function: function.name.clone(), invocation, call: 0 };
        let who = format!("{}#{invocation}", function.name);
        self.log(who, format!("processed {} of {} records", done.len(), received.len()));
        let fault = if self.faults_have_ended() {
            None
        } else {
            self.plan.inject(&point, &Fault::COMPLETION_FAULTS)
        };
        if let Some(fault) = fault {
            self.log(point.to_string(), fault.name());
        }
        match fault {
            Some(Fault::AckLost) => return,
            Some(Fault::AckLate) => tokio::time::sleep(LATE_DELETION).await,
            _ => {}
        }
        for (number, message) in done.into_iter().enumerate() {
            let entry =
                json!({ "Id": number.to_string(), "ReceiptHandle": message["ReceiptHandle"] });
            let request = json!({ "QueueUrl": url, "Entries": [entry] });
            // An expired receipt handle is rejected, and the record is received again.
            let now_ms = time::now_ms();
            drop(self.cloud().sqs.call("DeleteMessageBatch", &request, now_ms, &mut NoChaos));
        }
        self.news.notify_waiters();
    }

    /// Collects the tenants that a record's body names.
    fn tenants_of(&self, body: &str, tenants: &mut BTreeSet<String>) {
        fn collect(value: &Value, tenants: &mut BTreeSet<String>) {
            match value {
                Value::Object(fields) => {
                    for (name, value) in fields {
                        match value.as_str() {
                            Some(tenant) if name == "tenant" => {
                                tenants.insert(tenant.to_owned());
                            }
                            _ => collect(value, tenants),
                        }
                    }
                }
                Value::Array(items) => items.iter().for_each(|item| collect(item, tenants)),
                _ => {}
            }
        }
        let Ok(value) = serde_json::from_str::<Value>(body) else { return };
        if let Some(key) = value["claim_check"].as_str() {
            let text = self
                .cloud()
                .s3
                .get(crate::deployment::BUCKET, key)
                .map(|object| String::from_utf8_lossy(&object.bytes).into_owned());
            if let Ok(text) = text {
                self.tenants_of(&text, tenants);
            }
            return;
        }
        collect(&value, tenants);
    }

    /// Runs a schedule once a minute. Minutes in which nothing is due are skipped, because the
    /// function would find nothing in the table.
    async fn tick(self: Arc<Self>, schedule: Schedule) {
        let Some(function) = self.deployment.functions.get(schedule.function).cloned() else {
            return;
        };
        loop {
            let into = time::elapsed().as_millis() % 60_000;
            let wait = u64::try_from(60_000 - into).unwrap_or(60_000);
            tokio::time::sleep(Duration::from_millis(wait)).await;
            let due = (schedule.next_due_ms)(&self.cloud());
            let due = due.is_some_and(|due_ms| due_ms <= time::now_ms());
            if due {
                let (machine, function) = (self.clone(), function.clone());
                tokio::spawn(async move {
                    drop(machine.invoke(&function, json!({}), Cause::default()).await);
                });
            }
        }
    }

    /// When the next schedule is due.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<i64> {
        let cloud = self.cloud();
        self.schedules.iter().filter_map(|schedule| (schedule.next_due_ms)(&cloud)).min()
    }

    // ---- API Gateway ------------------------------------------------------------------------

    /// Processes an HTTP request like API Gateway. Returns `None` if no response can be sent.
    pub async fn request(self: &Arc<Self>, request: Request<Bytes>) -> Option<Response<Bytes>> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let deployment = self.deployment.clone();
        let Some((function, parameters)) = deployment.route(head.method.as_str(), &path) else {
            return simple(404, r#"{"message":"Not Found"}"#);
        };
        let mut tenants = BTreeSet::new();
        let mut authorizer = Value::Null;
        if path.starts_with("/webhooks/") {
            self.tenants_of_webhook(&parameters, &body, &mut tenants);
        } else {
            let header = head.headers.get("authorization").and_then(|value| value.to_str().ok());
            let key = header.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
            let Some(key) = self.keys().get(key).cloned() else {
                return simple(403, r#"{"message":"Forbidden"}"#);
            };
            authorizer = json!({ "lambda": { "tenant": key.tenant, "scopes": key.scopes } });
            tenants.insert(key.tenant);
        }
        let headers: serde_json::Map<String, Value> = head
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().into()))
            .collect();
        let parameters: serde_json::Map<String, Value> =
            parameters.into_iter().map(|(name, value)| (name, value.into())).collect();
        let event = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path,
            "rawQueryString": head.uri.query().unwrap_or_default(),
            "headers": headers, "pathParameters": parameters,
            "requestContext": {
                "accountId": "000000000000", "apiId": "simulation",
                "domainName": "hub.test", "domainPrefix": "hub", "requestId": "1",
                "routeKey": "$default", "stage": "$default", "time": "", "timeEpoch": 0,
                "authorizer": authorizer,
                "http": {
                    "method": head.method.as_str(), "path": path, "protocol": "HTTP/1.1",
                    "sourceIp": "203.0.113.1", "userAgent": "simulation",
                },
            },
            "body": STANDARD.encode(&body), "isBase64Encoded": true,
        });
        let function = function.clone();
        // Neither API Gateway nor a provider continues a chain of requests.
        let cause = Cause { tenants, lineage: Lineage::default() };
        let (invocation, ended) = self.invoke(&function, event, cause).await;
        let answer = match ended {
            Ok(Output::Http(response)) => Some(response),
            _ => simple(500, r#"{"message":"Internal Server Error"}"#),
        };
        if let Some(answer) = answer.clone() {
            self.record(Exchange::Answer { to: format!("{} {path}", head.method), answer });
        }
        let status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
        self.log(
            format!("{}#{invocation}", function.name),
            format!("{} {}: {status}", head.method, self.registry.redact_path(&path)),
        );
        answer
    }

    /// Collects the tenants whose data a webhook may access: the owner of the integration in its
    /// path, or, for the operator's app, the owners of the accounts in its body.
    fn tenants_of_webhook(
        &self,
        parameters: &[(String, String)],
        body: &Bytes,
        tenants: &mut BTreeSet<String>,
    ) {
        let owners = self.owners();
        if let Some((_, named)) = parameters.first() {
            tenants.extend(owners.get(named).cloned());
            return;
        }
        tenants.insert("platform".to_owned());
        let text = String::from_utf8_lossy(body);
        let named = owners.iter().filter(|(account, _)| text.contains(account.as_str()));
        tenants.extend(named.map(|(_, tenant)| tenant.clone()));
    }
}

fn simple(status: u16, body: &'static str) -> Option<Response<Bytes>> {
    Response::builder().status(status).body(Bytes::from_static(body.as_bytes())).ok()
}

/// Formats an AWS error response.
fn error_response(service: Service, refusal: &Refusal) -> AwsResponse {
    if service != Service::S3 {
        return AwsResponse::json(Err(refusal.clone()));
    }
    let (code, message) = (&refusal.code, &refusal.message);
    let body = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    AwsResponse { status: refusal.status, body: Bytes::from(body) }
}

/// Removes the second half of a batch, and returns it.
fn cut_in_half(body: &mut Value) -> Value {
    // Not by index, which would add the field to a body that lacks it.
    if let Some(entries) = body.get_mut("Entries").and_then(Value::as_array_mut) {
        return entries.split_off(entries.len() / 2).into();
    }
    let mut cut = serde_json::Map::new();
    let tables = body.get_mut("RequestItems").and_then(Value::as_object_mut);
    for (table, writes) in tables.into_iter().flatten() {
        if let Some(writes) = writes.as_array_mut() {
            cut.insert(table.clone(), writes.split_off(writes.len() / 2).into());
        }
    }
    cut.into()
}

fn is_empty_batch(body: &Value) -> bool {
    let empty = |list: &Value| list.as_array().is_some_and(Vec::is_empty);
    empty(&body["Entries"])
        || body["RequestItems"].as_object().is_some_and(|tables| tables.values().all(empty))
}

/// Describes what a request is about, without personal data.
fn subject(request: &AwsRequest) -> String {
    if request.service == Service::S3 {
        return request.path.clone();
    }
    let Ok(body) = serde_json::from_slice::<Value>(&request.body) else { return String::new() };
    if let Some(url) = body["QueueUrl"].as_str() {
        let queue = url.rsplit('/').next().unwrap_or_default();
        let count = body["Entries"].as_array().map_or(1, Vec::len);
        return format!("{queue} ({count})");
    }
    if let Some(name) = body["SecretId"].as_str().or_else(|| body["Name"].as_str()) {
        return name.to_owned();
    }
    let mut keys = partitions(&body);
    keys.truncate(3);
    keys.join(" ")
}

/// Formats records as a Lambda event.
fn records(url: &str, received: &[Value]) -> Value {
    let queue = url.rsplit('/').next().unwrap_or_default();
    let attributes = |message: &Value| -> Value {
        let attributes = message["MessageAttributes"].as_object().into_iter().flatten();
        let attribute = |value: &Value| json!({ "dataType": value["DataType"], "stringValue": value["StringValue"] });
        attributes.map(|(name, value)| (name.clone(), attribute(value))).collect()
    };
    let record = |message: &Value| {
        json!({
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
            "messageAttributes": attributes(message),
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": format!("arn:aws:sqs:eu-central-1:000000000000:{queue}"),
            "awsRegion": "eu-central-1",
        })
    };
    json!({ "Records": received.iter().map(record).collect::<Vec<_>>() })
}

/// Connection from providers and automations to the hub.
struct HubHandle(Weak<Machine>);

impl Hub for HubHandle {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<Result<Response<Bytes>, String>> {
        let machine = self.0.clone();
        Box::pin(async move {
            let machine = machine.upgrade().ok_or("the machine is gone")?;
            let number = machine.monitor().record_arrival(&request);
            let answer = machine.request(request).await;
            let status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
            machine.monitor().record_response(number, status);
            answer.ok_or_else(|| "the connection broke".to_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_cut_in_half_keeps_its_other_fields_and_gets_no_new_one() {
        let mut body = json!({ "RequestItems": { "work": [1, 2, 3] } });
        assert_eq!(cut_in_half(&mut body), json!({ "work": [2, 3] }));
        assert_eq!(body, json!({ "RequestItems": { "work": [1] } }));
        let mut body = json!({ "QueueUrl": "q", "Entries": [1, 2] });
        assert_eq!(cut_in_half(&mut body), json!([2]));
        assert_eq!(body, json!({ "QueueUrl": "q", "Entries": [1] }));
    }
}
