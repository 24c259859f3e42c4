//! The initial state of all runs: fixtures of the features, created once through the hub's API and
//! copied for each run.

#![expect(clippy::indexing_slicing, reason = "indexing a JSON value returns null if absent")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri};
use serde_json::Value;
use simulator::deliver::App;
use testkit::cloud::Cloud;
use testkit::cloud::dynamo::{Lag, TableSchema};
use testkit::cloud::sqs::QueueSettings;

use crate::deployment::{BUCKET, CREDENTIALS_KEY, Deployment};
use crate::faults::{Plan, Source};
use crate::feature::{Fixtures, Registry};
use crate::machine::{Key, Machine, Parts};
use crate::random::Seed;
use crate::time;

/// The platform's admin key.
pub const ADMIN: &str = "the-platforms-own-key-for-simulations";
/// The initial state of all runs.
#[derive(Debug)]
pub struct InitialState {
    /// The registered features.
    pub registry: Arc<Registry>,
    /// The deployment.
    pub deployment: Arc<Deployment>,
    /// State of the cloud at the start of a run.
    pub cloud: Cloud,
    /// The API keys.
    pub keys: BTreeMap<String, Key>,
    /// Tenant of each integration, webhook path and account.
    pub owners: BTreeMap<String, String>,
    /// Fixtures of each feature.
    fixtures: Vec<Box<dyn Fixtures>>,
    /// Control calls to the provider simulator at the start of a run.
    setup_calls: Vec<(Method, String, Value)>,
    /// Requests of the hub to the providers during the setup, repeated in each run.
    registrations: Vec<Request<Bytes>>,
}

/// Context for creating fixtures.
#[derive(Debug)]
pub struct Setup {
    /// The machine that runs the setup.
    pub machine: Arc<Machine>,
    setup_calls: Vec<(Method, String, Value)>,
}

impl Setup {
    /// Calls the hub's API with the platform's key.
    ///
    /// # Errors
    /// If the response is not a success: the response and the history so far.
    pub async fn api(&self, method: &str, path: &str, body: Value) -> Result<Value, String> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {ADMIN}"))
            .body(Bytes::from(body.to_string()))
            .map_err(|error| error.to_string())?;
        let answer = self.machine.request(request).await;
        let answer = answer.ok_or_else(|| format!("{method} {path}: no answer"))?;
        let body = serde_json::from_slice::<Value>(answer.body()).unwrap_or_default();
        if answer.status().is_success() {
            return Ok(body);
        }
        let text = self.machine.history().to_text();
        Err(format!("{method} {path}: {} {body}\n{text}", answer.status()))
    }

    /// Configures an account or an automation at the provider simulator, now and at the start of
    /// each run.
    ///
    /// # Errors
    /// If the simulator's control API rejects the call.
    pub async fn configure_provider(&mut self, path: String, body: Value) -> Result<(), String> {
        control(self.machine.providers(), &Method::PUT, &path, &body).await?;
        self.setup_calls.push((Method::PUT, path, body));
        Ok(())
    }
}

impl InitialState {
    /// Creates the initial state for the features of `registry`.
    ///
    /// # Errors
    /// If the setup fails.
    pub fn create(registry: Registry) -> Result<Self, String> {
        registry.check()?;
        let registry = Arc::new(registry);
        let deployment = Arc::new(Deployment::read()?);
        let runtime = runtime()?;
        runtime.block_on(async {
            time::begin(Duration::ZERO);
            fastrand::seed(1);
            let keys = BTreeMap::from([(
                ADMIN.to_owned(),
                Key { tenant: "platform".to_owned(), scopes: "admin".to_owned() },
            )]);
            let machine = Machine::new(Parts {
                seed: Seed(1),
                plan: Plan::new(Seed(1), Source::Given(BTreeMap::new())),
                outages: Vec::new(),
                deployment: deployment.clone(),
                registry: registry.clone(),
                parts: Vec::new(),
                cloud: empty(&deployment)?,
                keys,
                owners: BTreeMap::new(),
                nondeterministic_queues: false,
                equal_latencies: true,
                limits: None,
            });
            let mut setup = Setup { machine, setup_calls: Vec::new() };
            let mut fixtures = Vec::new();
            for feature in registry.features() {
                fixtures.push(feature.set_up(&mut setup).await?);
            }
            let registrations = setup.machine.provider_calls();
            setup.machine.begin();
            for own in &mut fixtures {
                own.warm_up(&setup).await?;
            }
            if time::elapsed() > time::START {
                return Err("the setup did not end before the start of the first run".to_owned());
            }
            let Setup { machine, setup_calls } = setup;
            let initial_state = Self {
                registry: registry.clone(),
                deployment: deployment.clone(),
                keys: machine.keys().clone(),
                owners: machine.owners().clone(),
                cloud: machine.cloud().clone(),
                fixtures,
                setup_calls,
                registrations,
            };
            machine.shut_down();
            Ok(initial_state)
        })
    }

    /// Starts a run on this thread: sets the clock and creates a machine from the initial state.
    pub async fn start_run(&self, parts: impl FnOnce(Parts) -> Parts, seed: Seed) -> Arc<Machine> {
        time::begin(time::START);
        // Jitter of the AWS clients.
        fastrand::seed(seed.0);
        let machine = Machine::new(parts(Parts {
            seed,
            plan: Plan::new(seed, Source::Given(BTreeMap::new())),
            outages: Vec::new(),
            deployment: self.deployment.clone(),
            registry: self.registry.clone(),
            parts: self.fixtures.iter().map(|fixtures| fixtures.create_part()).collect(),
            cloud: self.cloud.clone(),
            keys: self.keys.clone(),
            owners: self.owners.clone(),
            nondeterministic_queues: false,
            equal_latencies: true,
            limits: None,
        }));
        machine.cloud().dynamo.reset_consumed();
        machine.cloud().dynamo.set_partition_limits(machine.limits);
        if machine.nondeterministic_queues {
            let behind = |name| i64::try_from(seed.below(name, 500)).unwrap_or(0);
            let lag = Lag { index_ms: behind("index"), read_ms: behind("read") };
            machine.cloud().dynamo.set_lag(lag);
        }
        for (method, path, body) in &self.setup_calls {
            drop(control(machine.providers(), method, path, body).await);
        }
        for request in &self.registrations {
            let (head, body) = request.clone().into_parts();
            let app = machine.providers();
            simulator::server::route(app, &head.method, &head.uri, &head.headers, &body).await;
        }
        machine
    }

    /// Changes one setting of an account or an automation during a run.
    pub async fn change_setting(
        &self,
        machine: &Machine,
        kind: &str,
        name: &str,
        setting: &str,
        value: &Value,
    ) {
        let path = format!("/_sim/{kind}/{name}");
        let configure_provider = self.setup_calls.iter().find(|(_, own, _)| *own == path);
        if let Some((method, _, body)) = configure_provider {
            let mut body = body.clone();
            body[setting] = value.clone();
            if let Err(error) = control(machine.providers(), method, &path, &body).await {
                machine
                    .monitor()
                    .record_violation("rules", format!("the simulation is broken: {error}"));
            }
        }
    }
}

/// Creates a single-threaded runtime with virtual time.
///
/// # Errors
/// If the process runs out of resources.
pub fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|error| error.to_string())
}

/// Calls the provider simulator's control API.
///
/// # Errors
/// If the call is not successful.
pub async fn control(
    app: &App,
    method: &Method,
    path: &str,
    body: &Value,
) -> Result<Value, String> {
    let uri: Uri = path.parse().map_err(|_| format!("{path} is not a path"))?;
    let mut headers = HeaderMap::new();
    headers.insert("host", http::HeaderValue::from_static("provider.test"));
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let answer = simulator::server::route(app, method, &uri, &headers, &body).await;
    if answer.status() == 200 {
        return Ok(answer.body().clone());
    }
    Err(format!("{method} {path}: {} {}", answer.status(), answer.body()))
}

/// Creates the deployed tables, queues and bucket.
fn empty(deployment: &Deployment) -> Result<Cloud, String> {
    let mut cloud = Cloud::default();
    for table in &deployment.tables {
        cloud.dynamo.create_table(TableSchema::of_the_hub(table));
    }
    cloud.kms.add_key(CREDENTIALS_KEY);
    cloud.s3.create_bucket(BUCKET);
    let now_ms = time::now_ms();
    for queue in deployment.queues.values() {
        let name = |url: &str| url.rsplit('/').next().unwrap_or_default().to_owned();
        let dead_letter_queue = queue.dead_letters.as_deref().map(name);
        if let Some(dead) = &dead_letter_queue {
            let settings = QueueSettings {
                fifo: queue.fifo,
                retention_s: 1_209_600,
                ..QueueSettings::default()
            };
            let made = cloud.sqs.create_queue(dead, settings, now_ms);
            made.map_err(|refusal| refusal.message)?;
        }
        let settings = QueueSettings {
            fifo: queue.fifo,
            deduplication_scope_message_group: queue.fifo,
            visibility_timeout_s: queue.visibility_s,
            max_receive_count: dead_letter_queue
                .is_some()
                .then(|| u32::try_from(queue.max_receives).unwrap_or(u32::MAX)),
            dead_letter_queue,
            retention_s: 1_209_600,
            delay_s: 0,
        };
        let made = cloud.sqs.create_queue(&name(&queue.url), settings, now_ms);
        let made = made.map_err(|refusal| refusal.message)?;
        if made != queue.url {
            return Err(format!("the queue {} has the URL {made}", queue.url));
        }
    }
    Ok(cloud)
}
