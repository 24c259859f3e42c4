//! The stage: tenants, their accounts at the providers and their automations, set up once
//! through the hub's own API and copied for each run.

#![expect(clippy::indexing_slicing, reason = "what is not in a JSON value is null")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::Provider;
use http::{HeaderMap, Method, Request, Uri};
use providers::{example, shopify};
use serde_json::{Value, json};
use simulator::deliver::App;

use crate::chance::Seed;
use crate::check;
use crate::cloud::Cloud;
use crate::cloud::dynamo::{Lag, TableSchema};
use crate::cloud::sqs::QueueSettings;
use crate::deployment::{BUCKET, Deployment, TABLE};
use crate::machine::{Key, Machine, Parts};
use crate::time;
use crate::trouble::{Plan, Source};

/// How many customers there are at each account.
pub const CUSTOMERS: u64 = 6;

/// The platform's own key.
pub const ADMIN: &str = "the-platforms-own-key-for-simulations";
/// The app secret of the operator's app.
const PLATFORM_SECRET: &str = "the-platforms-app-secret";

/// An account of a tenant at a provider.
#[derive(Clone, Debug)]
pub struct Account {
    /// Whose it is.
    pub tenant: String,
    /// Where: `whatsapp` or `telegram`.
    pub provider: &'static str,
    /// The number's or the bot's id.
    pub name: String,
    /// The hub's id of it.
    pub integration: String,
    /// Whether a message may arrive twice rather than never.
    pub at_least_once: bool,
    /// Whether its webhooks come through the operator's app.
    pub through_platform: bool,
    /// The secret that its webhooks are signed with.
    pub secret: String,
    /// The number that carries what this one cannot, if there is one.
    pub spare: Option<String>,
}

impl Account {
    /// The address of a customer, by number.
    #[must_use]
    pub fn address(&self, customer: u64) -> String {
        if self.provider == "whatsapp" {
            format!("4915550000{customer:03}")
        } else {
            format!("11110{customer:03}")
        }
    }
}

/// A shop of a tenant's, which only tells of events.
#[derive(Clone, Debug, Default)]
pub struct Shop {
    /// Whose it is.
    pub tenant: String,
    /// The hub's id of it.
    pub integration: String,
    /// Where its webhooks go.
    pub address: String,
}

/// The provider of the shop.
pub const SHOPS: Provider = Provider::Shopify;

/// The stage.
#[derive(Clone, Debug)]
pub struct Stage {
    /// What is deployed.
    pub deployment: Arc<Deployment>,
    /// The cloud as it is when a run begins.
    pub cloud: Cloud,
    /// The API keys.
    pub keys: BTreeMap<String, Key>,
    /// Whose each integration, webhook path and account is.
    pub owners: BTreeMap<String, String>,
    /// The accounts.
    pub accounts: Vec<Account>,
    /// The shop.
    pub shop: Shop,
    /// Messages that were there before: every customer has said hello.
    pub before: BTreeSet<String>,
    /// What the providers are told when a run begins.
    props: Vec<(Method, String, Value)>,
    /// What the hub told the providers when it was set up.
    registrations: Vec<Request<Bytes>>,
}

impl Stage {
    /// Sets the stage.
    ///
    /// # Errors
    /// What did not go as it should.
    pub fn set() -> Result<Self, String> {
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
                cloud: empty(&deployment)?,
                keys,
                owners: BTreeMap::new(),
                wild: false,
                even: true,
            });
            let mut builder = Builder {
                machine,
                props: Vec::new(),
                accounts: Vec::new(),
                shop: Shop::default(),
                registrations: Vec::new(),
            };
            builder.all().await?;
            builder.greetings().await?;
            let Builder { machine, props, accounts, shop, registrations } = builder;
            let cloud = machine.cloud().clone();
            let stage = Self {
                deployment: deployment.clone(),
                keys: machine.keys().clone(),
                owners: machine.owners().clone(),
                accounts,
                shop,
                before: check::messages(&cloud).map(|message| message.id).collect(),
                cloud,
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
            cloud: self.cloud.clone(),
            keys: self.keys.clone(),
            owners: self.owners.clone(),
            wild: false,
            even: true,
        }));
        machine.cloud().dynamo.reset_consumed();
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

struct Builder {
    machine: Arc<Machine>,
    props: Vec<(Method, String, Value)>,
    accounts: Vec<Account>,
    shop: Shop,
    registrations: Vec<Request<Bytes>>,
}

impl Builder {
    /// Every customer says hello at every number, so that they may be written to.
    async fn greetings(&mut self) -> Result<(), String> {
        let calls = self.machine.outside_calls();
        self.registrations = calls.into_iter().map(|call| call.request).collect();
        self.machine.begin();
        for account in self.accounts.iter().filter(|account| account.provider == "whatsapp") {
            // Who wrote to the spare number, too, may be written to over it.
            for name in [Some(&account.name), account.spare.as_ref()].into_iter().flatten() {
                for customer in 1..=CUSTOMERS {
                    let body = json!({
                        "from": account.address(customer), "name": "Zoë",
                        "text": format!("hello from {customer} to {name}"),
                    });
                    let path = format!("/_sim/whatsapp/{name}/customer-writes");
                    control(self.machine.providers(), &Method::POST, &path, &body).await?;
                }
            }
        }
        tokio::time::sleep(Duration::from_mins(5)).await;
        let written = check::messages(&self.machine.cloud()).count() as u64;
        // Each hello to the three numbers and the spare, and its echo.
        if written != 4 * 2 * CUSTOMERS || time::elapsed() > time::START {
            return Err(format!(
                "the stage is not set: {written} messages\n{}",
                self.machine.history().story()
            ));
        }
        Ok(())
    }

    async fn all(&mut self) -> Result<(), String> {
        for tenant in ["acme", "globex", "initech"] {
            self.tenant(tenant).await?;
        }
        self.platform().await?;
        self.whatsapp("acme", "10001", false, false).await?;
        self.whatsapp("globex", "20002", true, false).await?;
        self.whatsapp("initech", "30003", false, true).await?;
        self.spare("10002").await?;
        self.telegram("acme", "7000000001").await?;
        self.telegram("globex", "7000000002").await?;
        self.shop("acme").await
    }

    async fn shop(&mut self, tenant: &str) -> Result<(), String> {
        let wish = json!({
            "tenant": tenant, "provider": SHOPS,
            "settings": (example::of(SHOPS).settings)(),
            "credentials": { shopify::API_SECRET: shopify::example::API_SECRET },
        });
        let made = self.api("POST", "/integrations", wish).await?;
        let integration = made["id"].as_str().unwrap_or_default().to_owned();
        self.machine.owners().insert(integration.clone(), tenant.to_owned());
        let address = format!("https://hub.test/webhooks/{SHOPS}/{integration}");
        self.shop = Shop { tenant: tenant.to_owned(), integration, address };
        Ok(())
    }

    /// A call of the hub's API with the platform's key.
    async fn api(&self, method: &str, path: &str, body: Value) -> Result<Value, String> {
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

    async fn prop(&mut self, path: String, body: Value) -> Result<(), String> {
        control(self.machine.providers(), &Method::PUT, &path, &body).await?;
        self.props.push((Method::PUT, path, body));
        Ok(())
    }

    async fn tenant(&mut self, id: &str) -> Result<(), String> {
        self.api("POST", "/tenants", json!({ "id": id, "name": id })).await?;
        let scopes = ["send", "read"];
        let made =
            self.api("POST", &format!("/tenants/{id}/keys"), json!({ "scopes": scopes })).await?;
        let key = made["key"].as_str().unwrap_or_default().to_owned();
        let known = Key { tenant: id.to_owned(), scopes: scopes.join(",") };
        self.machine.keys().insert(key.clone(), known);
        let push =
            json!({ "kind": "push", "url": format!("https://automation.test/automation/{id}") });
        let set = self.api("PUT", &format!("/tenants/{id}/automation"), push).await?;
        let reply =
            json!({ "hub": "https://hub.test", "key": key, "prefix": "Echo: ", "attempts": 8 });
        let automation = json!({ "secret": set["secret"], "reply": reply });
        self.prop(format!("/_sim/automation/{id}"), automation).await
    }

    async fn platform(&mut self) -> Result<(), String> {
        let wish = json!({
            "tenant": "platform", "provider": "whatsapp", "settings": {},
            "credentials": {
                "WHATSAPP_APP_SECRET": PLATFORM_SECRET,
                "WHATSAPP_WEBHOOK_VERIFY_TOKEN": "the-platforms-verify-token",
            },
        });
        self.api("POST", "/integrations", wish).await.map(|_| ())
    }

    async fn whatsapp(
        &mut self,
        tenant: &str,
        number: &str,
        at_least_once: bool,
        through_platform: bool,
    ) -> Result<(), String> {
        let token = format!("EAAG-{number}");
        let secret = if through_platform {
            PLATFORM_SECRET.to_owned()
        } else {
            format!("app-secret-of-{number}")
        };
        let delivery = if at_least_once { "at_least_once" } else { "at_most_once" };
        let wish = json!({
            "tenant": tenant, "provider": "whatsapp",
            "settings": {
                "phone_number_id": number, "base_url": "https://whatsapp.test",
                "delivery": delivery,
            },
            "credentials": {
                "WHATSAPP_ACCESS_TOKEN": token, "WHATSAPP_APP_SECRET": secret,
                "WHATSAPP_WEBHOOK_VERIFY_TOKEN": "verify-token",
            },
        });
        let made = self.api("POST", "/integrations", wish).await?;
        let integration = made["id"].as_str().unwrap_or_default().to_owned();
        let url = if through_platform {
            "https://hub.test/webhooks/whatsapp".to_owned()
        } else {
            format!("https://hub.test/webhooks/whatsapp/{integration}")
        };
        {
            let mut owners = self.machine.owners();
            owners.insert(integration.clone(), tenant.to_owned());
            owners.insert(number.to_owned(), tenant.to_owned());
        }
        self.accounts.push(Account {
            tenant: tenant.to_owned(),
            provider: "whatsapp",
            name: number.to_owned(),
            integration,
            at_least_once,
            through_platform,
            secret: secret.clone(),
            spare: None,
        });
        let settings = json!({
            "token": token, "app_secret": secret, "verify_token": "verify-token", "hub_url": url,
            "redelivery": { "first_ms": 2000, "max_ms": 60_000, "give_up_ms": 86_400_000 },
        });
        self.prop(format!("/_sim/whatsapp/{number}"), settings).await
    }

    /// A number that carries what the first account's cannot. Once the stage is set nobody writes
    /// to it, so it has no place among the accounts.
    async fn spare(&mut self, number: &str) -> Result<(), String> {
        let (token, secret) = (format!("EAAG-{number}"), format!("app-secret-of-{number}"));
        let Some(first) = self.accounts.first_mut() else { return Ok(()) };
        first.spare = Some(number.to_owned());
        let (tenant, integration) = (first.tenant.clone(), first.integration.clone());
        let wish = json!({
            "tenant": tenant, "provider": "whatsapp",
            "settings": { "phone_number_id": number, "base_url": "https://whatsapp.test" },
            "credentials": {
                "WHATSAPP_ACCESS_TOKEN": token, "WHATSAPP_APP_SECRET": secret,
                "WHATSAPP_WEBHOOK_VERIFY_TOKEN": "verify-token",
            },
        });
        let made = self.api("POST", "/integrations", wish).await?;
        let spare = made["id"].as_str().unwrap_or_default();
        {
            let mut owners = self.machine.owners();
            owners.insert(spare.to_owned(), tenant.clone());
            owners.insert(number.to_owned(), tenant.clone());
        }
        let url = format!("https://hub.test/webhooks/whatsapp/{spare}");
        let settings = json!({
            "token": token, "app_secret": secret, "verify_token": "verify-token", "hub_url": url,
            "redelivery": { "first_ms": 2000, "max_ms": 60_000, "give_up_ms": 86_400_000 },
        });
        self.prop(format!("/_sim/whatsapp/{number}"), settings).await?;
        let route = json!({
            "whatsapp_provider": "whatsapp", "integration": integration, "failover": [spare],
        });
        let path = format!("/tenants/{tenant}/whatsapp-settings");
        self.api("PUT", &path, route).await.map(|_| ())
    }

    async fn telegram(&mut self, tenant: &str, bot: &str) -> Result<(), String> {
        let token = format!("{bot}:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw");
        let settings = json!({
            "token": token, "unknown_chats": "open",
            "redelivery": { "first_ms": 2000, "max_ms": 60_000, "give_up_ms": 86_400_000 },
        });
        self.prop(format!("/_sim/telegram/{bot}"), settings).await?;
        let wish = json!({
            "tenant": tenant, "provider": "telegram",
            "settings": { "base_url": "https://telegram.test" },
            "credentials": { "TELEGRAM_BOT_TOKEN": token },
        });
        let made = self.api("POST", "/integrations", wish).await?;
        let integration = made["id"].as_str().unwrap_or_default().to_owned();
        self.api("POST", &format!("/integrations/{integration}/register"), json!({})).await?;
        let told = self.machine.outside_calls();
        let told =
            told.last().map(|call| String::from_utf8_lossy(call.request.body()).into_owned());
        let told: Value = serde_json::from_str(&told.unwrap_or_default()).unwrap_or_default();
        let url = told["url"].as_str().unwrap_or_default();
        let secret = url.rsplit('/').next().unwrap_or_default().to_owned();
        {
            let mut owners = self.machine.owners();
            owners.insert(integration.clone(), tenant.to_owned());
            owners.insert(secret.clone(), tenant.to_owned());
        }
        self.accounts.push(Account {
            tenant: tenant.to_owned(),
            provider: "telegram",
            name: bot.to_owned(),
            integration,
            at_least_once: false,
            through_platform: false,
            secret,
            spare: None,
        });
        Ok(())
    }
}
