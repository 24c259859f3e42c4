//! Fixtures of messaging: tenants, their provider accounts and their automations.

#![expect(clippy::indexing_slicing, reason = "indexing a JSON value returns null if absent")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use domain::Provider;
use http::Method;
use providers::{example, shopify};
use serde_json::{Value, json};
use simulation::feature::{Fixtures, Part, Work};
use simulation::initial_state::{Setup, control};
use simulation::machine::{Key, Machine};

use crate::check;
use crate::part::MessagingPart;

/// Number of customers at each account.
pub const CUSTOMERS: u64 = 6;

/// App secret of the operator's app.
const PLATFORM_SECRET: &str = "the-platforms-app-secret";

/// A provider account of a tenant.
#[derive(Clone, Debug)]
pub struct Account {
    /// Tenant.
    pub tenant: String,
    /// Provider: `whatsapp` or `telegram`.
    pub provider: &'static str,
    /// Id of the phone number or bot.
    pub name: String,
    /// Id of the integration.
    pub integration: String,
    /// Whether its messages are sent at least once instead of at most once.
    pub at_least_once: bool,
    /// Whether its webhooks come through the operator's app.
    pub through_platform: bool,
    /// Secret that verifies its webhooks.
    pub secret: String,
    /// Number that messages fail over to, if any.
    pub spare: Option<String>,
}

impl Account {
    /// Address of a customer, by number.
    #[must_use]
    pub fn address(&self, customer: u64) -> String {
        if self.provider == "whatsapp" {
            format!("4915550000{customer:03}")
        } else {
            format!("11110{customer:03}")
        }
    }
}

/// A tenant's shop, which only sends events.
#[derive(Clone, Debug, Default)]
pub struct Shop {
    /// Tenant.
    pub tenant: String,
    /// Id of the integration.
    pub integration: String,
    /// Webhook URL.
    pub address: String,
}

/// Provider of the shop.
pub const SHOP_PROVIDER: Provider = Provider::Shopify;

/// State at the start of every run.
#[derive(Clone, Debug)]
pub struct World {
    /// The accounts.
    pub accounts: Vec<Account>,
    /// The shop.
    pub shop: Shop,
    /// Ids of messages from before the run: every customer has said hello.
    pub before: BTreeSet<String>,
}

/// Creates the fixtures through the hub's API.
pub(crate) async fn set_up(setup: &mut Setup) -> Result<World, String> {
    let mut builder = Builder { setup, accounts: Vec::new(), shop: Shop::default() };
    builder.all().await?;
    let Builder { accounts, shop, .. } = builder;
    Ok(World { accounts, shop, before: BTreeSet::new() })
}

/// The fixtures of the initial state.
#[derive(Debug)]
pub(crate) struct MessagingFixtures(pub(crate) Arc<World>);

impl Fixtures for MessagingFixtures {
    fn warm_up<'a>(&'a mut self, setup: &'a Setup) -> Work<'a, Result<(), String>> {
        Box::pin(async move {
            greetings(&setup.machine, &self.0.accounts).await?;
            let before =
                check::messages(&setup.machine.cloud()).map(|message| message.id).collect();
            Arc::make_mut(&mut self.0).before = before;
            Ok(())
        })
    }

    fn create_part(&self) -> Arc<dyn Part> {
        Arc::new(MessagingPart::new(self.0.clone()))
    }
}

/// Has every customer say hello to every number, to open WhatsApp's service window.
async fn greetings(machine: &Machine, accounts: &[Account]) -> Result<(), String> {
    for account in accounts.iter().filter(|account| account.provider == "whatsapp") {
        // A customer must also write to the spare number before it may send to them.
        for name in [Some(&account.name), account.spare.as_ref()].into_iter().flatten() {
            for customer in 1..=CUSTOMERS {
                let body = json!({
                    "from": account.address(customer), "name": "Zoë",
                    "text": format!("hello from {customer} to {name}"),
                });
                let path = format!("/_sim/whatsapp/{name}/customer-writes");
                control(machine.providers(), &Method::POST, &path, &body).await?;
            }
        }
    }
    tokio::time::sleep(Duration::from_mins(5)).await;
    let written = check::messages(&machine.cloud()).count() as u64;
    // Each hello to the three numbers and the spare, and its reply.
    if written != 4 * 2 * CUSTOMERS {
        return Err(format!(
            "the warm-up failed: {written} messages\n{}",
            machine.history().to_text()
        ));
    }
    Ok(())
}

struct Builder<'a> {
    setup: &'a mut Setup,
    accounts: Vec<Account>,
    shop: Shop,
}

impl Builder<'_> {
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
        let request = json!({
            "tenant": tenant, "provider": SHOP_PROVIDER,
            "settings": (example::of(SHOP_PROVIDER).settings)(),
            "credentials": { shopify::API_SECRET: shopify::example::API_SECRET },
        });
        let made = self.setup.api("POST", "/integrations", request).await?;
        let integration = made["id"].as_str().unwrap_or_default().to_owned();
        self.setup.machine.owners().insert(integration.clone(), tenant.to_owned());
        let address = format!("https://hub.test/webhooks/{SHOP_PROVIDER}/{integration}");
        self.shop = Shop { tenant: tenant.to_owned(), integration, address };
        Ok(())
    }

    async fn tenant(&mut self, id: &str) -> Result<(), String> {
        self.setup.api("POST", "/tenants", json!({ "id": id, "name": id })).await?;
        let scopes = ["send", "read"];
        let made = self
            .setup
            .api("POST", &format!("/tenants/{id}/keys"), json!({ "scopes": scopes }))
            .await?;
        let key = made["key"].as_str().unwrap_or_default().to_owned();
        let known = Key { tenant: id.to_owned(), scopes: scopes.join(",") };
        self.setup.machine.keys().insert(key.clone(), known);
        let push =
            json!({ "kind": "push", "url": format!("https://automation.test/automation/{id}") });
        let set = self.setup.api("PUT", &format!("/tenants/{id}/automation"), push).await?;
        let reply =
            json!({ "hub": "https://hub.test", "key": key, "prefix": "Echo: ", "attempts": 8 });
        let automation = json!({ "secret": set["secret"], "reply": reply });
        self.setup.configure_provider(format!("/_sim/automation/{id}"), automation).await
    }

    async fn platform(&mut self) -> Result<(), String> {
        let request = json!({
            "tenant": "platform", "provider": "whatsapp", "settings": {},
            "credentials": {
                "WHATSAPP_APP_SECRET": PLATFORM_SECRET,
                "WHATSAPP_WEBHOOK_VERIFY_TOKEN": "the-platforms-verify-token",
            },
        });
        self.setup.api("POST", "/integrations", request).await.map(|_| ())
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
        let request = json!({
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
        let made = self.setup.api("POST", "/integrations", request).await?;
        let integration = made["id"].as_str().unwrap_or_default().to_owned();
        let url = if through_platform {
            "https://hub.test/webhooks/whatsapp".to_owned()
        } else {
            format!("https://hub.test/webhooks/whatsapp/{integration}")
        };
        {
            let mut owners = self.setup.machine.owners();
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
        self.setup.configure_provider(format!("/_sim/whatsapp/{number}"), settings).await
    }

    /// Adds a failover number for the first account. No customer writes to it in a run, so it is
    /// not in the accounts.
    async fn spare(&mut self, number: &str) -> Result<(), String> {
        let (token, secret) = (format!("EAAG-{number}"), format!("app-secret-of-{number}"));
        let Some(first) = self.accounts.first_mut() else { return Ok(()) };
        first.spare = Some(number.to_owned());
        let (tenant, integration) = (first.tenant.clone(), first.integration.clone());
        let request = json!({
            "tenant": tenant, "provider": "whatsapp",
            "settings": { "phone_number_id": number, "base_url": "https://whatsapp.test" },
            "credentials": {
                "WHATSAPP_ACCESS_TOKEN": token, "WHATSAPP_APP_SECRET": secret,
                "WHATSAPP_WEBHOOK_VERIFY_TOKEN": "verify-token",
            },
        });
        let made = self.setup.api("POST", "/integrations", request).await?;
        let spare = made["id"].as_str().unwrap_or_default();
        {
            let mut owners = self.setup.machine.owners();
            owners.insert(spare.to_owned(), tenant.clone());
            owners.insert(number.to_owned(), tenant.clone());
        }
        let url = format!("https://hub.test/webhooks/whatsapp/{spare}");
        let settings = json!({
            "token": token, "app_secret": secret, "verify_token": "verify-token", "hub_url": url,
            "redelivery": { "first_ms": 2000, "max_ms": 60_000, "give_up_ms": 86_400_000 },
        });
        self.setup.configure_provider(format!("/_sim/whatsapp/{number}"), settings).await?;
        let route = json!({
            "whatsapp_provider": "whatsapp", "integration": integration, "failover": [spare],
        });
        let path = format!("/tenants/{tenant}/whatsapp-settings");
        self.setup.api("PUT", &path, route).await.map(|_| ())
    }

    async fn telegram(&mut self, tenant: &str, bot: &str) -> Result<(), String> {
        let token = format!("{bot}:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw");
        let settings = json!({
            "token": token, "unknown_chats": "open",
            "redelivery": { "first_ms": 2000, "max_ms": 60_000, "give_up_ms": 86_400_000 },
        });
        self.setup.configure_provider(format!("/_sim/telegram/{bot}"), settings).await?;
        let request = json!({
            "tenant": tenant, "provider": "telegram",
            "settings": { "base_url": "https://telegram.test" },
            "credentials": { "TELEGRAM_BOT_TOKEN": token },
        });
        let made = self.setup.api("POST", "/integrations", request).await?;
        let integration = made["id"].as_str().unwrap_or_default().to_owned();
        self.setup.api("POST", &format!("/integrations/{integration}/register"), json!({})).await?;
        let calls = self.setup.machine.provider_calls();
        let register = calls.last().map(|call| String::from_utf8_lossy(call.body()).into_owned());
        let register: Value =
            serde_json::from_str(&register.unwrap_or_default()).unwrap_or_default();
        let url = register["url"].as_str().unwrap_or_default();
        let secret = url.rsplit('/').next().unwrap_or_default().to_owned();
        {
            let mut owners = self.setup.machine.owners();
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
