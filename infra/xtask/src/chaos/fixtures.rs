//! Tenants, accounts and automations of the run, set up at the hub and at the simulator.

use serde_json::{Value, json};

use super::{
    observations::REPLY_ATTEMPTS,
    plan::{ECHO, Provider},
};
use crate::{
    error::{Error, Result},
    http::Client,
    hub::Hub,
};

/// A tenant.
pub(crate) struct Tenant {
    pub(crate) id: String,
    /// Client for the hub's API with the tenant's key.
    pub(crate) api: Client,
    /// The simulator's settings for the tenant's automation.
    pub(crate) automation: Value,
}

/// A tenant's account at a provider.
pub(crate) struct Account {
    /// Index of the tenant in [`Fixtures::tenants`].
    pub(crate) tenant: usize,
    pub(crate) provider: Provider,
    /// The provider's id of the account.
    pub(crate) id: String,
    /// The hub's id of the integration.
    pub(crate) integration: String,
}

impl Account {
    /// Path of the account in the simulator's control API.
    pub(crate) fn control(&self, what: &str) -> String {
        format!("/_sim/{}/{}{what}", self.provider.name(), self.id)
    }
}

/// All tenants and accounts.
pub(crate) struct Fixtures {
    pub(crate) tenants: Vec<Tenant>,
    pub(crate) accounts: Vec<Account>,
    pub(crate) simulator: Client,
}

/// Receipt settings by tenant: duplicated and shuffled; without `read` and all in one webhook; late
/// and shuffled. The `short` form has no duplicates, because a duplicate may wait a minute for the
/// first notification's lease.
fn receipts(tenant: usize, short: bool) -> Value {
    match tenant % 3 {
        0 => json!({"sent": 20, "delivered": 60, "read": 200,
                    "duplicates": u8::from(!short), "shuffle": true}),
        1 => json!({"sent": 50, "delivered": 300, "read": null, "together": true}),
        _ => json!({"sent": 500, "delivered": 2000, "read": 6000, "shuffle": true}),
    }
}

/// Redelivery settings: providers retry for as long as a run may last.
fn redelivery() -> Value {
    json!({"first_ms": 300, "factor": 2, "max_ms": 3000, "give_up_ms": 3_600_000,
           "timeout_ms": 10_000})
}

fn text(value: &Value, pointer: &str) -> Result<String> {
    let found = value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    found.ok_or_else(|| Error::step("set-up", format!("{pointer} is missing in {value}")))
}

impl Fixtures {
    /// Creates all tenants and accounts.
    pub(crate) fn set_up(hub: &Hub, short: bool) -> Result<Self> {
        let mut fixtures = Self {
            tenants: Vec::new(),
            accounts: Vec::new(),
            simulator: Client::new(hub.simulator_url(), None),
        };
        let admin = Client::new(hub.url(), Some(hub.admin_key()?));
        for id in ["alder", "birch", "cedar"] {
            fixtures.tenant(hub, &admin, id)?;
            let tenant = fixtures.tenants.len() - 1;
            fixtures.whatsapp(hub, &admin, tenant, short)?;
            fixtures.telegram(hub, &admin, tenant)?;
        }
        Ok(fixtures)
    }

    fn tenant(&mut self, hub: &Hub, admin: &Client, id: &str) -> Result<()> {
        admin.post("/tenants", &json!({"id": id, "name": id}))?;
        // The load is higher than the default limits.
        let rates = json!({"reads": 100_000, "messages": 100_000});
        let limits = json!({"key": rates, "tenant": rates});
        admin.put(&format!("/tenants/{id}/limits"), &limits)?;
        let scopes = json!({"scopes": ["send", "read"]});
        let key = text(&admin.post(&format!("/tenants/{id}/keys"), &scopes)?, "/key")?;
        let url = format!("{}/automation/{id}", hub.simulator_url());
        let push = json!({"kind": "push", "url": url, "allow_private_network": true});
        let automation = admin.put(&format!("/tenants/{id}/automation"), &push)?;
        let reply =
            json!({"hub": hub.url(), "key": key, "prefix": ECHO, "attempts": REPLY_ATTEMPTS});
        let settings = json!({"secret": text(&automation, "/secret")?, "reply": reply});
        self.simulator.put(&format!("/_sim/automation/{id}"), &settings)?;
        let api = Client::new(hub.url(), Some(key));
        self.tenants.push(Tenant { id: id.to_owned(), api, automation: settings });
        Ok(())
    }

    fn id_of(&self, tenant: usize) -> &str {
        self.tenants.get(tenant).map_or("", |tenant| &tenant.id)
    }

    fn whatsapp(&mut self, hub: &Hub, admin: &Client, tenant: usize, short: bool) -> Result<()> {
        let number = format!("10650000000000{tenant}");
        let (token, secret) = (format!("EAAG-{number}"), format!("secret-{number}"));
        let verify = format!("verify-{number}");
        let made = admin.post(
            "/integrations",
            &json!({
                "tenant": self.id_of(tenant),
                "provider": "whatsapp",
                "settings": {"phone_number_id": number, "base_url": hub.simulator_url()},
                "credentials": {
                    "WHATSAPP_ACCESS_TOKEN": token,
                    "WHATSAPP_APP_SECRET": secret,
                    "WHATSAPP_WEBHOOK_VERIFY_TOKEN": verify,
                },
            }),
        )?;
        let account = Account {
            tenant,
            provider: Provider::Whatsapp,
            id: number,
            integration: text(&made, "/id")?,
        };
        self.simulator.put(
            &account.control(""),
            &json!({
                "token": token, "app_secret": secret, "verify_token": verify,
                "hub_url": text(&made, "/webhook_url")?,
                "limits": {"pair_interval_ms": 0},
                "receipts": receipts(tenant, short), "redelivery": redelivery(), "seed": tenant + 1,
            }),
        )?;
        self.accounts.push(account);
        Ok(())
    }

    fn telegram(&mut self, hub: &Hub, admin: &Client, tenant: usize) -> Result<()> {
        let bot = format!("700000000{tenant}");
        let token = format!("{bot}:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw");
        let settings = json!({"token": token, "redelivery": redelivery()});
        self.simulator.put(&format!("/_sim/telegram/{bot}"), &settings)?;
        let made = admin.post(
            "/integrations",
            &json!({
                "tenant": self.id_of(tenant),
                "provider": "telegram",
                "settings": {"base_url": hub.simulator_url()},
                "credentials": {"TELEGRAM_BOT_TOKEN": token},
            }),
        )?;
        let integration = text(&made, "/id")?;
        admin.post(&format!("/integrations/{integration}/register"), &json!({}))?;
        self.accounts.push(Account { tenant, provider: Provider::Telegram, id: bot, integration });
        Ok(())
    }

    /// Returns the providers of the accounts, in order.
    pub(crate) fn providers(&self) -> Vec<Provider> {
        self.accounts.iter().map(|account| account.provider).collect()
    }
}
