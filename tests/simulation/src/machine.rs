//! The machine under the hub: a Lambda service, a queue service that hands out records, an API
//! gateway and a scheduler, all of which may fail as the real ones do.

#![expect(clippy::indexing_slicing, reason = "what is not in a JSON value is null")]

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_runtime_api::client::behavior_version::BehaviorVersion;
use aws_smithy_types::retry::RetryConfig;
use aws_types::SdkConfig;
use aws_types::region::Region;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response};
use runtime::{Environment, Kit};
use serde_json::{Value, json};
use simulator::deliver::{App, BoxFuture, Hub};
use testkit::cloud::dynamo::PartitionLimits;
use testkit::cloud::sqs::NoChaos;
use testkit::cloud::{Cloud, Refusal};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::chance::Seed;
use crate::deployment::{Deployment, Function};
use crate::feature::{Part, Registry, Schedule, TableCall};
use crate::functions::{Instance, Output};
use crate::history::History;
use crate::net::{self, AwsRequest, Net, Service, Wire};
use crate::time::{self, VirtualClock};
use crate::trouble::{Place, Plan, Trouble};
use crate::watch::{Watch, partitions};

/// Invocations of one function at once. The deployed limits are higher; two are enough to be in
/// each other's way, and four leave room for what is frozen.
const SIDE_BY_SIDE: usize = 4;
/// How late the queue service deletes, when it is late: after the longest visibility timeout.
const LATE: Duration = Duration::from_secs(500);

/// An event that lasts: a service is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Which.
    pub service: Service,
    /// From when, in virtual time.
    pub from: Duration,
    /// Until when.
    pub until: Duration,
}

impl std::fmt::Display for Outage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let since = |at: Duration| at.saturating_sub(time::START).as_secs_f64();
        let (from, until) = (since(self.from), since(self.until));
        write!(f, "{} is out from {from:.1} s to {until:.1} s", self.service.name())
    }
}

/// The machine.
pub struct Machine {
    /// All chance comes from it.
    pub seed: Seed,
    /// What goes wrong.
    pub plan: Plan,
    /// What is deployed.
    pub deployment: Arc<Deployment>,
    /// The features that take part.
    pub registry: Arc<Registry>,
    /// Their parts in this run.
    pub parts: Vec<Arc<dyn Part>>,
    /// Whether the queues do all that SQS leaves open, such as handing out a record twice.
    pub wild: bool,
    /// Whether every latency is the same.
    pub even: bool,
    /// What the table lets one partition key do, if that is limited.
    pub limits: Option<PartitionLimits>,
    secrets: Vec<&'static str>,
    schedules: Vec<Schedule>,
    outages: Vec<Outage>,
    calm: AtomicBool,
    cloud: Mutex<Cloud>,
    history: Mutex<History>,
    watch: Mutex<Watch>,
    providers: OnceLock<App>,
    keys: Mutex<BTreeMap<String, Key>>,
    owners: Mutex<BTreeMap<String, String>>,
    exchanges: Mutex<Vec<Exchange>>,
    lambdas: Mutex<BTreeMap<String, Lambda>>,
    busy: Arc<AtomicUsize>,
    news: Notify,
    receives: Mutex<u64>,
}

/// An API key: whose it is, and what it is good for.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its tenant.
    pub tenant: String,
    /// Its scopes, with commas.
    pub scopes: String,
}

/// What the hub let the outside see.
#[derive(Clone, Debug)]
pub enum Exchange {
    /// A call to a provider or an automation, as it was made.
    Call(Request<Bytes>),
    /// The answer to a request at the front door.
    Answer {
        /// The request's method and path.
        to: String,
        /// The answer.
        answer: Response<Bytes>,
    },
}

impl fmt::Display for Exchange {
    /// As it goes over the wire, with the headers in alphabetical order.
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

/// A function as the Lambda service keeps it.
#[derive(Default)]
struct Lambda {
    idle: Vec<(Arc<Sandbox>, Arc<dyn Instance>)>,
    sandboxes: u64,
    invocations: u64,
    running: usize,
}

/// A sandbox: one process of a function.
#[derive(Debug)]
pub struct Sandbox {
    function: String,
    state: Mutex<SandboxState>,
    died: Notify,
}

/// Where a request comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The invocation.
    pub who: String,
    /// Whose data it may touch.
    pub tenants: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct SandboxState {
    invocation: u64,
    calls: u64,
    tenants: BTreeSet<String>,
    dead: bool,
    frozen_until: Option<Instant>,
}

/// How an invocation ended without a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The process died.
    Died,
    /// It took longer than it may.
    TimedOut,
    /// The function said so.
    Failed(String),
}

impl Sandbox {
    fn lock(&self) -> MutexGuard<'_, SandboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of its next call.
    pub(crate) fn next_call(&self) -> Place {
        let mut state = self.lock();
        state.calls += 1;
        Place { function: self.function.clone(), invocation: state.invocation, call: state.calls }
    }

    /// Which invocation it works on.
    pub(crate) fn name(&self) -> String {
        format!("{}#{}", self.function, self.lock().invocation)
    }

    /// Whose requests leave now. A request may arrive when its sandbox works on another event.
    pub(crate) fn origin(&self) -> Origin {
        let state = self.lock();
        let who = format!("{}#{}", self.function, state.invocation);
        Origin { who, tenants: state.tenants.clone() }
    }

    /// Ends the process here and now.
    pub(crate) async fn die(&self) -> Infallible {
        self.lock().dead = true;
        self.died.notify_one();
        std::future::pending().await
    }

    /// Lets the process stand still.
    pub(crate) fn freeze(&self, how_long: Duration) {
        self.lock().frozen_until = Some(Instant::now() + how_long);
    }

    fn is_frozen(&self) -> bool {
        self.lock().frozen_until.is_some_and(|until| Instant::now() < until)
    }
}

/// Work that stands still while its process does.
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

/// Something is going on as long as it lives.
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

/// What a machine is made of.
pub struct Parts {
    /// The seed.
    pub seed: Seed,
    /// What goes wrong at calls.
    pub plan: Plan,
    /// What goes wrong for a while.
    pub outages: Vec<Outage>,
    /// What is deployed.
    pub deployment: Arc<Deployment>,
    /// The features that take part.
    pub registry: Arc<Registry>,
    /// Their parts in this run; none while the stage is set.
    pub parts: Vec<Arc<dyn Part>>,
    /// The cloud as it is.
    pub cloud: Cloud,
    /// The API keys there are.
    pub keys: BTreeMap<String, Key>,
    /// Whose each integration, webhook path and account is.
    pub owners: BTreeMap<String, String>,
    /// See [`Machine::wild`].
    pub wild: bool,
    /// See [`Machine::even`].
    pub even: bool,
    /// See [`Machine::limits`].
    pub limits: Option<PartitionLimits>,
}

impl Machine {
    /// A machine with its providers.
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
            wild: parts.wild,
            even: parts.even,
            limits: parts.limits,
            outages: parts.outages,
            calm: AtomicBool::new(false),
            cloud: Mutex::new(parts.cloud),
            history: Mutex::default(),
            watch: Mutex::default(),
            providers: OnceLock::new(),
            keys: Mutex::new(parts.keys),
            owners: Mutex::new(parts.owners),
            exchanges: Mutex::default(),
            lambdas: Mutex::default(),
            busy: Arc::default(),
            news: Notify::new(),
            receives: Mutex::default(),
        });
        let door = Door(Arc::downgrade(&machine));
        let app = App::beside(simulator::clock::Clock::Given(time::now_ms), Arc::new(door));
        // It was empty until now.
        drop(machine.providers.set(app));
        machine
    }

    /// The providers and automations.
    #[must_use]
    pub fn providers(&self) -> &App {
        // It is set before anybody has a machine.
        self.providers.get_or_init(|| App::new(simulator::clock::Clock::Given(time::now_ms)))
    }

    /// The cloud, for a moment.
    pub fn cloud(&self) -> MutexGuard<'_, Cloud> {
        self.cloud.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was seen on the way, for a moment.
    pub fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The API keys, for a moment.
    pub fn keys(&self) -> MutexGuard<'_, BTreeMap<String, Key>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose each integration, webhook path and account is, for a moment.
    pub fn owners(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every call that left for a provider or an automation.
    #[must_use]
    pub fn outside_calls(&self) -> Vec<Request<Bytes>> {
        let calls = self.exchanges().into_iter().filter_map(|exchange| match exchange {
            Exchange::Call(request) => Some(request),
            Exchange::Answer { .. } => None,
        });
        calls.collect()
    }

    /// What the outside has seen so far.
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

    /// Writes down what happens now.
    pub fn tell(&self, who: impl Into<String>, what: impl Into<String>) {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).push(who, what);
    }

    /// What happened.
    #[must_use]
    pub fn history(&self) -> History {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends all trouble.
    pub fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
        self.tell("world", "all trouble is over");
    }

    /// Whether all trouble is over.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// Whether the service that is asked for `what` is out.
    pub(crate) fn is_out(&self, what: &str) -> bool {
        let now = time::elapsed();
        !self.is_calm()
            && self.outages.iter().any(|outage| {
                what.starts_with(outage.service.name()) && outage.from <= now && now < outage.until
            })
    }

    /// How long a request takes there and back.
    pub(crate) fn latency(&self, place: &Place) -> (Duration, Duration) {
        if self.even {
            return (Duration::from_millis(2), Duration::from_millis(2));
        }
        let bits = self.seed.bits(("latency", place));
        // Mostly quick, sometimes so slow that others overtake.
        let slow = if bits.is_multiple_of(23) { 400 } else { 1 };
        let part = |bits: u64| Duration::from_millis(1 + (bits % 12) * slow);
        (part(bits >> 8), part(bits >> 24))
    }

    /// A wait of the SDK's, up to `most_ms`.
    pub(crate) fn jitter(&self, sandbox: &Sandbox, most_ms: u64) -> u64 {
        let state = sandbox.lock();
        self.seed.below(("jitter", &sandbox.function, state.invocation, state.calls), most_ms)
    }

    /// Something is going on until the guard is dropped.
    pub(crate) fn busy(&self) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(self.busy.clone())
    }

    /// Says that there may be something in a queue.
    pub fn wake(&self) {
        self.news.notify_waiters();
    }

    /// Whether nothing is going on.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0
    }

    // ---- The cloud's side of a request ------------------------------------------------------

    /// Does what a request asks, and answers.
    pub(crate) fn serve(&self, origin: &Origin, request: &AwsRequest, half: bool) -> Wire {
        let who = &origin.who;
        if request.service != Service::SecretsManager {
            let body = String::from_utf8_lossy(&request.body);
            self.watch().hides_secrets(who, &body, &self.secrets);
        }
        let done = match request.service {
            Service::S3 => self.serve_object(request),
            _ => self.serve_json(origin, request, half).map(|answer| answer.to_string().into()),
        };
        let wire = match &done {
            Ok(body) => Wire { status: 200, body: body.clone() },
            Err(refusal) => refused(request.service, refusal),
        };
        let said = done.as_ref().map_or_else(|refusal| refusal.code.as_str(), |_| "done");
        self.tell(who.clone(), format!("{request} {}: {said}", subject(request)));
        if let Err(refusal) = done {
            self.watch().refused(who, &request.to_string(), &refusal);
        }
        if request.service == Service::Sqs {
            self.news.notify_waiters();
        }
        wire
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
        let left = if half { cut_in_half(&mut body) } else { Value::Null };
        let now_ms = time::now_ms();
        let mut cloud = self.cloud();
        // What is left of a batch of one is nothing to ask for.
        let nothing = half && is_empty_batch(&body);
        let mut answer = match request.service {
            _ if nothing => json!({ "Successful": [] }),
            Service::DynamoDb => {
                let mut watch = self.watch();
                watch.walls(&origin.who, &origin.tenants, &request.operation, &body);
                let call = TableCall { origin, operation: &request.operation, body: &body };
                for part in &self.parts {
                    part.table_call_begins(&call, &cloud, &mut watch);
                }
                let answer = cloud.dynamo.call(&request.operation, &body, now_ms);
                for part in &self.parts {
                    part.table_call_ended(&call, &cloud, &mut watch);
                }
                answer?
            }
            Service::Sqs => cloud.sqs.call(&request.operation, &body, now_ms, &mut NoChaos)?,
            Service::SecretsManager => cloud.secrets.call(&request.operation, &body, now_ms)?,
            Service::S3 => Value::Null,
        };
        match &left {
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

    /// Carries a request to a provider or an automation.
    pub(crate) async fn outside(
        &self,
        origin: Origin,
        what: &str,
        request: Request<Bytes>,
    ) -> Option<Response<Bytes>> {
        let who = origin.who;
        self.record(Exchange::Call(request.clone()));
        for part in &self.parts {
            part.outside_call_begins(&who, &request, &self.cloud(), &mut self.watch());
        }
        let (head, body) = request.into_parts();
        let providers = self.providers();
        let answer =
            simulator::server::route(providers, &head.method, &head.uri, &head.headers, &body);
        let answer = net::answered(answer.await).await;
        let said = answer.as_ref().map_or("no answer".to_owned(), |a| a.status().to_string());
        self.tell(who, format!("{what}: {said}"));
        answer
    }

    // ---- Lambda -----------------------------------------------------------------------------

    /// Invokes a function. `tenants` are those whose data it may touch.
    pub(crate) async fn invoke(
        self: &Arc<Self>,
        function: &Function,
        event: Value,
        tenants: BTreeSet<String>,
    ) -> (u64, Result<Output, Ended>) {
        let _busy = self.busy();
        let (sandbox, instance) = match self.sandbox(function) {
            Ok(pair) => pair,
            Err(error) => return (0, Err(Ended::Failed(error))),
        };
        let number = {
            let mut lambdas = self.lambdas();
            let lambda = lambdas.entry(function.name.clone()).or_default();
            lambda.invocations += 1;
            lambda.running += 1;
            lambda.invocations
        };
        *sandbox.lock() = SandboxState { invocation: number, tenants, ..SandboxState::default() };
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
                Err(Ended::Died)
            }
            done = &mut task => match done {
                Ok(Ok(output)) => Ok(output),
                Ok(Err(error)) => Err(Ended::Failed(error)),
                Err(error) => {
                    self.watch().panicked(&name, &error.to_string());
                    Err(Ended::Failed("panicked".to_owned()))
                }
            },
            () = tokio::time::sleep(limit) => {
                // What stands still is not reached by the service's signal: it goes on when it
                // can, as if it had never been given up.
                if !sandbox.is_frozen() {
                    task.abort();
                }
                Err(Ended::TimedOut)
            }
        };
        {
            let mut lambdas = self.lambdas();
            let lambda = lambdas.entry(function.name.clone()).or_default();
            lambda.running -= 1;
            if matches!(ended, Ok(_) | Err(Ended::Failed(_))) {
                lambda.idle.push((sandbox, instance));
            }
        }
        match &ended {
            Ok(_) => {}
            Err(Ended::Died) => self.tell(name, "the process died"),
            Err(Ended::TimedOut) => self.tell(name, "given up: it took too long"),
            Err(Ended::Failed(error)) => self.tell(name, format!("failed: {error}")),
        }
        // What was in its hands may be had again.
        self.news.notify_waiters();
        (number, ended)
    }

    /// An idle sandbox of a function, or a new one.
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
        let credentials = Credentials::new("AKIDSIMULATED", "secret", None, None, "simulation");
        let aws = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("eu-central-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(net.clone())
            .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
            .time_source(VirtualClock)
            // The connection itself tries again, with jitter from the seed.
            .retry_config(RetryConfig::disabled())
            .build();
        let environment = Environment::Given(function.environment.clone());
        let dice = self.seed.sequence(("dice", &function.name, number));
        let kit = Kit::new(aws, environment, net, VirtualClock, dice);
        let instance: Arc<dyn Instance> = self.registry.function(&function.name, &kit)?.into();
        Ok((sandbox, instance))
    }

    /// Makes a function and keeps it, as its first event would.
    ///
    /// # Errors
    /// If no feature has it, or what its environment lacks.
    pub fn make(self: &Arc<Self>, function: &Function) -> Result<(), String> {
        let made = self.sandbox(function)?;
        self.lambdas().entry(function.name.clone()).or_default().idle.push(made);
        Ok(())
    }

    /// Forgets every sandbox: they and the machine hold each other.
    pub fn shut_down(&self) {
        self.lambdas().clear();
    }

    // ---- Queues -----------------------------------------------------------------------------

    /// Begins handing out the records of every queue that a function reads.
    pub fn begin(self: &Arc<Self>) {
        for function in self.deployment.functions.values() {
            if function.reads.is_some() {
                let (machine, function) = (self.clone(), function.clone());
                tokio::spawn(async move { machine.hand_out(&function).await });
            }
        }
        for schedule in self.schedules.clone() {
            let machine = self.clone();
            tokio::spawn(async move { machine.tick(schedule).await });
        }
    }

    async fn hand_out(self: Arc<Self>, function: &Function) {
        let Some((queue, most)) = &function.reads else { return };
        let Some(url) = self.deployment.queues.get(queue).map(|queue| queue.url.clone()) else {
            return;
        };
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            // From here on nothing is missed.
            news.as_mut().enable();
            let running = self.lambdas().get(&function.name).map_or(0, |lambda| lambda.running);
            let received =
                if running < SIDE_BY_SIDE { self.receive(&url, *most) } else { Vec::new() };
            if received.is_empty() {
                let next_ms = self.cloud().sqs.next_visible_ms(&url);
                match next_ms.filter(|_| running < SIDE_BY_SIDE) {
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
                machine.work(&own, &url, received).await;
                drop(guard);
            });
            // So that records gather, and batches of many sizes come about.
            let wait =
                if self.even { 5 } else { 1 + self.seed.below(("gather", time::now_us()), 30) };
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
    }

    fn receive(&self, url: &str, most: u64) -> Vec<Value> {
        let wish = json!({
            "QueueUrl": url, "MaxNumberOfMessages": most,
            "MessageSystemAttributeNames": ["All"], "MessageAttributeNames": ["All"],
        });
        let now_ms = time::now_ms();
        let mut cloud = self.cloud();
        let answer = if self.wild {
            let mut receives = self.receives.lock().unwrap_or_else(PoisonError::into_inner);
            *receives += 1;
            let mut whims = crate::run::Whims(self.seed.sequence(("whims", url, *receives)));
            cloud.sqs.call("ReceiveMessage", &wish, now_ms, &mut whims)
        } else {
            cloud.sqs.call("ReceiveMessage", &wish, now_ms, &mut NoChaos)
        };
        match answer {
            Ok(answer) => answer["Messages"].as_array().cloned().unwrap_or_default(),
            Err(refusal) => {
                self.watch().refused("queue service", "SQS ReceiveMessage", &refusal);
                Vec::new()
            }
        }
    }

    /// Has records worked, and deletes those that were done.
    async fn work(self: &Arc<Self>, function: &Function, url: &str, received: Vec<Value>) {
        let mut tenants = BTreeSet::new();
        for message in &received {
            let body = message["Body"].as_str().unwrap_or_default();
            self.tenants_of(body, &mut tenants);
        }
        let event = records(url, &received);
        let (invocation, ended) = self.invoke(function, event, tenants).await;
        let Ok(Output::Json(answer)) = ended else { return };
        let failed = answer["batchItemFailures"].as_array().cloned().unwrap_or_default();
        let has_failed = |message: &Value| {
            failed.iter().any(|failure| failure["itemIdentifier"] == message["MessageId"])
        };
        let done: Vec<&Value> = received.iter().filter(|message| !has_failed(message)).collect();
        let place = Place { function: function.name.clone(), invocation, call: 0 };
        let who = format!("{}#{invocation}", function.name);
        self.tell(who, format!("done: {} of {} records", done.len(), received.len()));
        let trouble = if self.is_calm() { None } else { self.plan.meet(&place, &Trouble::OF_ENDS) };
        if let Some(trouble) = trouble {
            self.tell(place.to_string(), trouble.name());
        }
        match trouble {
            Some(Trouble::AckLost) => return,
            Some(Trouble::AckLate) => tokio::time::sleep(LATE).await,
            _ => {}
        }
        for (number, message) in done.into_iter().enumerate() {
            let entry =
                json!({ "Id": number.to_string(), "ReceiptHandle": message["ReceiptHandle"] });
            let wish = json!({ "QueueUrl": url, "Entries": [entry] });
            // A receipt that has run out is refused; then the record comes again.
            let now_ms = time::now_ms();
            drop(self.cloud().sqs.call("DeleteMessageBatch", &wish, now_ms, &mut NoChaos));
        }
        self.news.notify_waiters();
    }

    /// Whose records these are: every tenant that a body names.
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

    /// Starts a schedule once a minute. Minutes in which nothing is due are passed over: the
    /// function would ask the table and find nothing.
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
                    drop(machine.invoke(&function, json!({}), BTreeSet::new()).await);
                });
            }
        }
    }

    /// When the next schedule has something to do.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<i64> {
        let cloud = self.cloud();
        self.schedules.iter().filter_map(|schedule| (schedule.next_due_ms)(&cloud)).min()
    }

    // ---- The front door ---------------------------------------------------------------------

    /// Answers an HTTP request as the API gateway does; `None` if nobody hears the answer.
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
        let (invocation, ended) = self.invoke(&function, event, tenants).await;
        let answer = match ended {
            Ok(Output::Http(response)) => Some(response),
            _ => simple(500, r#"{"message":"Internal Server Error"}"#),
        };
        if let Some(answer) = answer.clone() {
            self.record(Exchange::Answer { to: format!("{} {path}", head.method), answer });
        }
        let said = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
        self.tell(
            format!("{}#{invocation}", function.name),
            format!("{} {}: {said}", head.method, self.registry.shown(&path)),
        );
        answer
    }

    /// Whose data a webhook may touch: of the integration its path names; of the accounts in
    /// it, where the operator's app speaks.
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

/// What a service's refusal is on the wire.
fn refused(service: Service, refusal: &Refusal) -> Wire {
    let body = if service == Service::S3 {
        let (code, message) = (&refusal.code, &refusal.message);
        format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>")
    } else {
        let mut fields = refusal.more.clone();
        fields.insert("__type".to_owned(), format!("com.amazonaws#{}", refusal.code).into());
        fields.insert("message".to_owned(), refusal.message.clone().into());
        Value::Object(fields).to_string()
    };
    Wire { status: refusal.status, body: Bytes::from(body) }
}

/// Takes the second half of a batch out of it, and gives it.
fn cut_in_half(body: &mut Value) -> Value {
    if let Some(entries) = body["Entries"].as_array_mut() {
        return entries.split_off(entries.len() / 2).into();
    }
    let mut left = serde_json::Map::new();
    for (table, writes) in body["RequestItems"].as_object_mut().into_iter().flatten() {
        if let Some(writes) = writes.as_array_mut() {
            left.insert(table.clone(), writes.split_off(writes.len() / 2).into());
        }
    }
    left.into()
}

fn is_empty_batch(body: &Value) -> bool {
    let empty = |list: &Value| list.as_array().is_some_and(Vec::is_empty);
    empty(&body["Entries"])
        || body["RequestItems"].as_object().is_some_and(|tables| tables.values().all(empty))
}

/// What a request is about, in a few words and without anybody's data.
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

/// Records as Lambda hands them over.
fn records(url: &str, received: &[Value]) -> Value {
    let queue = url.rsplit('/').next().unwrap_or_default();
    let record = |message: &Value| {
        json!({
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
            "messageAttributes": {},
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": format!("arn:aws:sqs:eu-central-1:000000000000:{queue}"),
            "awsRegion": "eu-central-1",
        })
    };
    json!({ "Records": received.iter().map(record).collect::<Vec<_>>() })
}

/// Leads providers and automations to the hub.
struct Door(Weak<Machine>);

impl Hub for Door {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<Result<Response<Bytes>, String>> {
        let machine = self.0.clone();
        Box::pin(async move {
            let machine = machine.upgrade().ok_or("the machine is gone")?;
            let heard = machine.watch().arrives(&request);
            let answer = machine.request(request).await;
            let status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
            machine.watch().was_answered(heard, status);
            answer.ok_or_else(|| "the connection broke".to_owned())
        })
    }
}
