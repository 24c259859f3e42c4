//! The stage: what the features need, set up once through the hub's own API and copied for each
//! run.

#![expect(clippy::indexing_slicing, reason = "what is not in a JSON value is null")]

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

use crate::chance::Seed;
use crate::deployment::{BUCKET, Deployment, TABLE};
use crate::feature::{Fixtures, Registry};
use crate::machine::{Key, Machine, Parts};
use crate::time;
use crate::trouble::{Plan, Source};

/// The platform's own key.
pub const ADMIN: &str = "the-platforms-own-key-for-simulations";
/// The stage.
#[derive(Debug)]
pub struct Stage {
    /// The features that take part.
    pub registry: Arc<Registry>,
    /// What is deployed.
    pub deployment: Arc<Deployment>,
    /// The cloud as it is when a run begins.
    pub cloud: Cloud,
    /// The API keys.
    pub keys: BTreeMap<String, Key>,
    /// Whose each integration, webhook path and account is.
    pub owners: BTreeMap<String, String>,
    /// What each feature has on it.
    fixtures: Vec<Box<dyn Fixtures>>,
    /// What the providers are told when a run begins.
    props: Vec<(Method, String, Value)>,
    /// What the hub told the providers when it was set up.
    registrations: Vec<Request<Bytes>>,
}

/// A stage while it is set.
#[derive(Debug)]
pub struct Setup {
    /// The machine that it is set on.
    pub machine: Arc<Machine>,
    props: Vec<(Method, String, Value)>,
}

impl Setup {
    /// A call of the hub's API with the platform's key.
    ///
    /// # Errors
    /// If it is not answered 2xx: what was answered, and the story so far.
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
        let story = self.machine.history().story();
        Err(format!("{method} {path}: {} {body}\n{story}", answer.status()))
    }

    /// Sets a number, a bot or an automation up at the providers: now, and in each run.
    ///
    /// # Errors
    /// If the providers' control API refuses it.
    pub async fn prop(&mut self, path: String, body: Value) -> Result<(), String> {
        control(self.machine.providers(), &Method::PUT, &path, &body).await?;
        self.props.push((Method::PUT, path, body));
        Ok(())
    }
}

impl Stage {
    /// Sets the stage for the features of `registry`.
    ///
    /// # Errors
    /// What did not go as it should.
    pub fn set(registry: Registry) -> Result<Self, String> {
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
                wild: false,
                even: true,
                limits: None,
            });
            let mut setup = Setup { machine, props: Vec::new() };
            let mut fixtures = Vec::new();
            for feature in registry.features() {
                fixtures.push(feature.set_up(&mut setup).await?);
            }
            let registrations = setup.machine.outside_calls();
            setup.machine.begin();
            for own in &mut fixtures {
                own.warm_up(&setup).await?;
            }
            if time::elapsed() > time::START {
                return Err("the stage is not set before the first run begins".to_owned());
            }
            let Setup { machine, props } = setup;
            let stage = Self {
                registry: registry.clone(),
                deployment: deployment.clone(),
                keys: machine.keys().clone(),
                owners: machine.owners().clone(),
                cloud: machine.cloud().clone(),
                fixtures,
                props,
                registrations,
            };
            machine.shut_down();
            Ok(stage)
        })
    }

    /// Begins a run on this thread: the clock, and a machine on which all stands ready.
    pub async fn begin(&self, parts: impl FnOnce(Parts) -> Parts, seed: Seed) -> Arc<Machine> {
        time::begin(time::START);
        // The AWS clients' own jitter.
        fastrand::seed(seed.0);
        let machine = Machine::new(parts(Parts {
            seed,
            plan: Plan::new(seed, Source::Given(BTreeMap::new())),
            outages: Vec::new(),
            deployment: self.deployment.clone(),
            registry: self.registry.clone(),
            parts: self.fixtures.iter().map(|fixtures| fixtures.begin()).collect(),
            cloud: self.cloud.clone(),
            keys: self.keys.clone(),
            owners: self.owners.clone(),
            wild: false,
            even: true,
            limits: None,
        }));
        machine.cloud().dynamo.reset_consumed();
        machine.cloud().dynamo.set_partition_limits(machine.limits);
        if machine.wild {
            let behind = |name| i64::try_from(seed.below(name, 500)).unwrap_or(0);
            let lag = Lag { index_ms: behind("index"), read_ms: behind("read") };
            machine.cloud().dynamo.set_lag(lag);
        }
        for (method, path, body) in &self.props {
            drop(control(machine.providers(), method, path, body).await);
        }
        for request in &self.registrations {
            let (head, body) = request.clone().into_parts();
            let app = machine.providers();
            simulator::server::route(app, &head.method, &head.uri, &head.headers, &body).await;
        }
        machine
    }

    /// Changes one setting of a number, a bot or an automation in a run.
    pub async fn change(
        &self,
        machine: &Machine,
        kind: &str,
        name: &str,
        setting: &str,
        value: &Value,
    ) {
        let path = format!("/_sim/{kind}/{name}");
        let prop = self.props.iter().find(|(_, own, _)| *own == path);
        if let Some((method, _, body)) = prop {
            let mut body = body.clone();
            body[setting] = value.clone();
            if let Err(error) = control(machine.providers(), method, &path, &body).await {
                machine.watch().violated("rules", format!("the stage is broken: {error}"));
            }
        }
    }
}

/// A runtime with one thread and virtual time.
///
/// # Errors
/// If the machine has no means left.
pub fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|error| error.to_string())
}

/// Asks the providers' control API.
///
/// # Errors
/// If it does not do what it is asked.
pub async fn control(
    app: &App,
    method: &Method,
    path: &str,
    body: &Value,
) -> Result<Value, String> {
    let uri: Uri = path.parse().map_err(|_| format!("{path} is no path"))?;
    let mut headers = HeaderMap::new();
    headers.insert("host", http::HeaderValue::from_static("provider.test"));
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let answer = simulator::server::route(app, method, &uri, &headers, &body).await;
    if answer.status() == 200 {
        return Ok(answer.body().clone());
    }
    Err(format!("{method} {path}: {} {}", answer.status(), answer.body()))
}

/// The cloud as it is deployed: a table, queues, a bucket.
fn empty(deployment: &Deployment) -> Result<Cloud, String> {
    let mut cloud = Cloud::default();
    cloud.dynamo.create_table(TableSchema::of_the_hub(TABLE));
    cloud.s3.create_bucket(BUCKET);
    let now_ms = time::now_ms();
    for queue in deployment.queues.values() {
        let name = |url: &str| url.rsplit('/').next().unwrap_or_default().to_owned();
        let of_the_dead = queue.dead_letters.as_deref().map(name);
        if let Some(dead) = &of_the_dead {
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
            max_receive_count: of_the_dead
                .is_some()
                .then(|| u32::try_from(queue.max_receives).unwrap_or(u32::MAX)),
            dead_letter_queue: of_the_dead,
            retention_s: 1_209_600,
            delay_s: 0,
        };
        let made = cloud.sqs.create_queue(&name(&queue.url), settings, now_ms);
        let made = made.map_err(|refusal| refusal.message)?;
        if made != queue.url {
            return Err(format!("the queue {} has the address {made}", queue.url));
        }
    }
    Ok(cloud)
}
