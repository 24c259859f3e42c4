//! Fixtures: tenants, their provider accounts and their automations.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use providers::whatsapp_cloud::example;
use serde_json::{Value, json};

use crate::hub::{Answer, Client, DEFAULT_TIMEOUT, HUB, digits, eventually, random, request};

/// Lock on the WhatsApp sender: read-held while a test sends, write-held while a test kills the
/// sender.
pub(crate) static SENDER: RwLock<()> = RwLock::new(());

/// A tenant with a client that has all scopes.
pub(crate) struct Tenant {
    pub(crate) id: String,
    pub(crate) api: Client,
}

impl Tenant {
    pub(crate) fn new(name: &str) -> Self {
        let id = format!("{name}-{:012x}", random() >> 16);
        let admin = Client::admin();
        admin.post("/tenants", &json!({"id": id, "name": name})).expect(201);
        let scopes = ["admin", "send", "read", "worker"];
        let made =
            admin.post(&format!("/tenants/{id}/keys"), &json!({"scopes": scopes})).expect(201);
        Self { api: Client::with_key(made["key"].as_str().unwrap()), id }
    }

    /// Returns a message from the API.
    #[track_caller]
    pub(crate) fn message(&self, id: &str) -> Value {
        self.api.get(&format!("/messages/{id}")).expect(200)
    }

    /// Sends a message and returns its id.
    #[track_caller]
    pub(crate) fn send(&self, body: &Value) -> String {
        let message = self.api.post("/messages", body).expect(202);
        assert_eq!(message["status"], "queued", "{message}");
        message["id"].as_str().unwrap().to_owned()
    }

    /// Waits until a message has a status and returns the message.
    #[track_caller]
    pub(crate) fn until(&self, id: &str, status: &str) -> Value {
        self.until_within(id, status, DEFAULT_TIMEOUT)
    }

    /// Waits until a message has a status, with a timeout.
    #[track_caller]
    pub(crate) fn until_within(&self, id: &str, status: &str, timeout: Duration) -> Value {
        eventually(&format!("{id} is {status}"), timeout, || {
            let message = self.message(id);
            if message["status"] == status { Ok(message) } else { Err(message.to_string()) }
        })
    }

    /// Waits until a message's history has a status and returns the message.
    #[track_caller]
    pub(crate) fn until_passed(&self, id: &str, status: &str) -> Value {
        eventually(&format!("{id} has been {status}"), DEFAULT_TIMEOUT, || {
            let message = self.message(id);
            let passed = history(&message).iter().any(|step| step == status);
            if passed { Ok(message) } else { Err(message.to_string()) }
        })
    }

    /// Waits for the conversation with a customer.
    #[track_caller]
    pub(crate) fn conversation(&self, address: &str) -> Value {
        eventually(&format!("a conversation with {address}"), DEFAULT_TIMEOUT, || {
            let page = self.api.get("/conversations?limit=100").expect(200);
            let conversations = page["conversations"].as_array().unwrap();
            let found = conversations
                .iter()
                .find(|conversation| conversation["contact"]["address"] == address);
            found.cloned().ok_or_else(|| page.to_string())
        })
    }

    /// Returns all messages of a conversation, newest first.
    #[track_caller]
    pub(crate) fn messages(&self, conversation: &str) -> Vec<Value> {
        let path = format!("/conversations/{conversation}/messages?limit=100");
        self.pages(&path, "messages").into_iter().flatten().collect()
    }

    /// Returns the pages of a list.
    #[track_caller]
    pub(crate) fn pages(&self, path: &str, name: &str) -> Vec<Vec<Value>> {
        let mut pages = Vec::new();
        let mut next = path.to_owned();
        loop {
            let page = self.api.get(&next).expect(200);
            pages.push(page[name].as_array().unwrap().clone());
            match page["next"].as_str() {
                Some(cursor) => next = format!("{path}&cursor={cursor}"),
                None => return pages,
            }
        }
    }

    /// Waits until the conversation with a customer has `count` messages.
    #[track_caller]
    pub(crate) fn until_messages(&self, address: &str, count: usize) -> Vec<Value> {
        let conversation = self.conversation(address);
        let conversation = conversation["id"].as_str().unwrap();
        eventually(&format!("{count} messages with {address}"), DEFAULT_TIMEOUT, || {
            let messages = self.messages(conversation);
            if messages.len() == count {
                Ok(messages)
            } else {
                let texts: Vec<_> = messages.iter().map(|m| m["text"].to_string()).collect();
                Err(format!(
                    "{} messages: {}",
                    messages.len(),
                    texts.join(" ").get(..1000).unwrap_or("")
                ))
            }
        })
    }

    /// Creates a WhatsApp number. `settings` override the simulator's defaults.
    pub(crate) fn whatsapp(&self, settings: &Value) -> Whatsapp<'_> {
        let lock = SENDER.read().unwrap_or_else(PoisonError::into_inner);
        Whatsapp::new(self, settings, Some(lock))
    }

    /// Creates a WhatsApp number for a test that holds [`SENDER`] itself.
    pub(crate) fn whatsapp_alone(&self, settings: &Value) -> Whatsapp<'_> {
        Whatsapp::new(self, settings, None)
    }

    /// Creates a Telegram bot with a registered webhook.
    pub(crate) fn telegram(&self) -> Telegram<'_> {
        Telegram::new(self)
    }

    /// Sets up an automation that the hub notifies.
    pub(crate) fn automation(&self, script: &Value) -> Automation {
        Automation::new(self, script)
    }
}

/// The statuses of a message's history.
pub(crate) fn history(message: &Value) -> Vec<String> {
    let steps = message["history"].as_array().unwrap().iter();
    steps.map(|step| step["status"].as_str().unwrap().to_owned()).collect()
}

/// The step of a message's history with this status.
#[track_caller]
pub(crate) fn step<'a>(message: &'a Value, status: &str) -> &'a Value {
    let steps = message["history"].as_array().unwrap();
    let found = steps.iter().find(|step| step["status"] == status);
    found.unwrap_or_else(|| panic!("no step {status}: {message}"))
}

/// A random phone number of a customer.
pub(crate) fn person() -> String {
    digits(11)
}

/// A WhatsApp number at the hub and at the simulator.
pub(crate) struct Whatsapp<'a> {
    tenant: &'a Tenant,
    pub(crate) number: String,
    pub(crate) secret: String,
    pub(crate) integration: String,
    pub(crate) url: String,
    /// The simulator's settings of the number.
    account: Value,
    simulator: Client,
    _lock: Option<RwLockReadGuard<'static, ()>>,
}

impl<'a> Whatsapp<'a> {
    fn new(
        tenant: &'a Tenant,
        settings: &Value,
        lock: Option<RwLockReadGuard<'static, ()>>,
    ) -> Self {
        let number = digits(15);
        let (token, secret) = (format!("EAAG-{number}"), format!("secret-{number}"));
        let verify = format!("verify-{number}");
        let made = tenant.api.post(
            "/integrations",
            &json!({
                "provider": "whatsapp",
                "settings": {"phone_number_id": number, "base_url": HUB.simulator},
                "credentials": {
                    "WHATSAPP_ACCESS_TOKEN": token,
                    "WHATSAPP_APP_SECRET": secret,
                    "WHATSAPP_WEBHOOK_VERIFY_TOKEN": verify,
                },
            }),
        );
        let made = made.expect(201);
        let url = made["webhook_url"].as_str().unwrap().to_owned();
        let mut account = json!({
            "token": token, "app_secret": secret, "verify_token": verify, "hub_url": url,
        });
        for (name, value) in settings.as_object().into_iter().flatten() {
            account[name] = value.clone();
        }
        let simulator = Client::simulator();
        simulator.put(&format!("/_sim/whatsapp/{number}"), &account).expect(200);
        Self {
            tenant,
            account,
            integration: made["id"].as_str().unwrap().to_owned(),
            number,
            secret,
            url,
            simulator,
            _lock: lock,
        }
    }

    /// Calls the simulator's control API for the number.
    #[track_caller]
    pub(crate) fn control(&self, what: &str, body: &Value) -> Value {
        self.simulator.post(&format!("/_sim/whatsapp/{}/{what}", self.number), body).expect(200)
    }

    /// Changes the number's settings at the simulator.
    #[track_caller]
    pub(crate) fn set(&self, settings: &Value) {
        let mut account = self.account.clone();
        for (name, value) in settings.as_object().into_iter().flatten() {
            account[name] = value.clone();
        }
        self.simulator.put(&format!("/_sim/whatsapp/{}", self.number), &account).expect(200);
    }

    /// Has a customer write a message, and checks that the hub accepts the webhook.
    #[track_caller]
    pub(crate) fn writes(&self, body: &Value) -> Value {
        let answer = self.control("customer-writes", body);
        assert_eq!(answer["webhook_status"], 200, "{answer}");
        answer
    }

    /// Has a customer say hello, and returns the conversation.
    #[track_caller]
    pub(crate) fn hello(&self, from: &str) -> Value {
        self.writes(&json!({"from": from, "name": "Zoë", "text": "hello"}));
        self.tenant.conversation(from)
    }

    /// Sends a signed webhook body.
    #[track_caller]
    pub(crate) fn deliver(&self, body: &Value) -> Answer {
        let body = example::escaped(body);
        deliver(&self.url, &body, &example::signature(&self.secret, &body))
    }

    /// Sends a signed webhook with statuses.
    #[track_caller]
    pub(crate) fn statuses(&self, statuses: &[Value]) {
        let body = example::envelope(&[example::statuses(&self.number, statuses)]);
        self.deliver(&body).expect(200);
    }

    /// Returns the messages to a customer that the provider accepted.
    #[track_caller]
    pub(crate) fn accepted(&self, to: &str) -> Vec<Value> {
        let path = format!("/_sim/whatsapp/{}/accepted?to={to}", self.number);
        self.simulator.get(&path).expect(200)["accepted"].as_array().unwrap().clone()
    }

    /// Arms faults at the simulator.
    #[track_caller]
    pub(crate) fn faults(&self, faults: &Value) {
        self.control("faults", &json!({"faults": faults}));
    }

    /// Returns the messages that the hub marked as read.
    #[track_caller]
    pub(crate) fn reads(&self) -> Value {
        self.simulator.get(&format!("/_sim/whatsapp/{}/reads", self.number)).expect(200)["reads"]
            .take()
    }
}

/// Sends a webhook body with this signature.
#[track_caller]
pub(crate) fn deliver(url: &str, body: &[u8], signature: &str) -> Answer {
    let headers = [("content-type", "application/json"), ("x-hub-signature-256", signature)];
    request("POST", url, &headers, Some(body))
}

/// Simulator settings that disable receipts.
pub(crate) fn no_receipts() -> Value {
    json!({"receipts": {"sent": null, "delivered": null, "read": null}})
}

/// A text message from a customer, as Meta formats it.
pub(crate) fn text_from(from: &str, id: &str, text: &str) -> Value {
    json!({
        "from": from, "id": id, "timestamp": crate::hub::now().to_string(),
        "type": "text", "text": {"body": text},
    })
}

/// A Telegram bot at the hub and at the simulator.
pub(crate) struct Telegram<'a> {
    tenant: &'a Tenant,
    pub(crate) bot: String,
    pub(crate) token: String,
    pub(crate) integration: String,
    simulator: Client,
}

impl<'a> Telegram<'a> {
    fn new(tenant: &'a Tenant) -> Self {
        let bot = digits(10);
        let token = format!("{bot}:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw");
        let simulator = Client::simulator();
        simulator.put(&format!("/_sim/telegram/{bot}"), &json!({"token": token})).expect(200);
        let made = tenant.api.post(
            "/integrations",
            &json!({
                "provider": "telegram",
                "settings": {"base_url": HUB.simulator},
                "credentials": {"TELEGRAM_BOT_TOKEN": token},
            }),
        );
        let integration = made.expect(201)["id"].as_str().unwrap().to_owned();
        let register = format!("/integrations/{integration}/register");
        tenant.api.post(&register, &json!({})).expect(200);
        Self { tenant, bot, token, integration, simulator }
    }

    /// Calls the simulator's control API for the bot.
    #[track_caller]
    pub(crate) fn control(&self, what: &str, body: &Value) -> Value {
        self.simulator.post(&format!("/_sim/telegram/{}/{what}", self.bot), body).expect(200)
    }

    /// Has a customer write a message, and checks that the hub accepts the webhook.
    #[track_caller]
    pub(crate) fn writes(&self, body: &Value) -> Value {
        let answer = self.control("customer-writes", body);
        assert_eq!(answer["webhook_status"], 200, "{answer}");
        answer
    }

    /// Has a customer say hello, and returns the conversation.
    #[track_caller]
    pub(crate) fn hello(&self, chat: i64) -> Value {
        self.writes(&json!({"chat_id": chat, "name": "Zoë", "text": "hello"}));
        self.tenant.conversation(&chat.to_string())
    }

    /// Returns the messages to a chat that the provider accepted.
    #[track_caller]
    pub(crate) fn accepted(&self, chat: i64) -> Vec<Value> {
        let path = format!("/_sim/telegram/{}/accepted?chat_id={chat}", self.bot);
        self.simulator.get(&path).expect(200)["accepted"].as_array().unwrap().clone()
    }

    /// Returns the number of Telegram rules that the hub broke.
    #[track_caller]
    pub(crate) fn violations(&self) -> Value {
        let path = format!("/_sim/telegram/{}", self.bot);
        self.simulator.get(&path).expect(200)["violations"].take()
    }
}

/// A tenant's automation.
pub(crate) struct Automation {
    pub(crate) name: String,
    simulator: Client,
}

impl Automation {
    fn new(tenant: &Tenant, script: &Value) -> Self {
        let automation = Self { name: tenant.id.clone(), simulator: Client::simulator() };
        automation.set(tenant, script);
        automation
    }

    /// Points the tenant's automation at the simulator and sets the signing secret.
    #[track_caller]
    pub(crate) fn set(&self, tenant: &Tenant, script: &Value) {
        let url = format!("{}/automation/{}", HUB.simulator, self.name);
        let push = json!({"kind": "push", "url": url, "allow_private_network": true});
        let path = format!("/tenants/{}/automation", tenant.id);
        let secret = tenant.api.put(&path, &push).expect(200)["secret"].take();
        let settings = json!({"secret": secret, "script": script});
        self.simulator.put(&format!("/_sim/automation/{}", self.name), &settings).expect(200);
    }

    /// Returns the notifications of a type that it received.
    #[track_caller]
    pub(crate) fn deliveries(&self, kind: &str) -> Value {
        let path = format!("/_sim/automation/{}/deliveries?type={kind}", self.name);
        self.simulator.get(&path).expect(200)
    }

    /// Waits until it has acknowledged `count` notifications of a type.
    #[track_caller]
    pub(crate) fn until(&self, kind: &str, count: u64) -> Value {
        eventually(
            &format!("{count} notifications {kind} at {}", self.name),
            DEFAULT_TIMEOUT,
            || {
                let seen = self.deliveries(kind);
                let deliveries = seen["deliveries"].as_array().unwrap().iter();
                let acknowledged = deliveries.filter(|one| one["answer"] == 200).count() as u64;
                if acknowledged >= count { Ok(seen) } else { Err(seen.to_string()) }
            },
        )
    }
}
