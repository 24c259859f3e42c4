//! No secret and no personal data is in the functions' log: canaries in credentials, keys, messages
//! and endpoints, on paths that succeed and on paths that fail.

use providers::whatsapp_cloud::example;
use serde_json::{Value, json};

use crate::fixtures::{Tenant, Whatsapp, deliver, person, text_from};
use crate::hub::{Answer, Client, DEFAULT_TIMEOUT, HUB, digits, eventually, random, request};

/// Nothing listens on the discard port.
const UNREACHABLE: &str = "http://127.0.0.1:9";

/// Values that no line of the log may contain, with their names.
#[derive(Default)]
struct Canaries(Vec<(&'static str, String)>);

impl Canaries {
    /// Adds a value and returns it.
    fn add(&mut self, name: &'static str, value: &str) -> String {
        assert!(value.len() >= 11, "{name}: a line may contain it by chance");
        self.0.push((name, value.to_owned()));
        value.to_owned()
    }

    /// Adds a random value, which is the same in URLs and in JSON, and returns it.
    fn create(&mut self, name: &'static str) -> String {
        self.add(name, &format!("canary-{:016x}{:016x}", random(), random()))
    }

    /// Returns the names of the values that `text` contains.
    fn found_in(&self, text: &str) -> Vec<&'static str> {
        let found = self.0.iter().filter(|(_, value)| text.contains(value.as_str()));
        found.map(|(name, _)| *name).collect()
    }

    /// Asserts that the provider's failure is reported without a canary.
    #[track_caller]
    fn assert_provider_failed(&self, answer: Answer) {
        let problem = answer.problem(502, "provider_refused");
        assert!(self.found_in(&problem.to_string()).is_empty(), "{problem}");
    }
}

/// Waits until a function has written a line that contains all of `parts`.
#[track_caller]
fn until_logged(function: &str, parts: &[&str]) {
    let start = format!("[switchboard-{function}] ");
    eventually(&format!("{parts:?} in the log of {function}"), DEFAULT_TIMEOUT, || {
        let log = HUB.functions_log()?;
        let mut own = log.lines().filter(|line| line.starts_with(&start));
        let is_logged = own.any(|line| parts.iter().all(|part| line.contains(*part)));
        if is_logged { Ok(()) } else { Err("no such line".to_owned()) }
    });
}

/// Creates a tenant, with a client whose key is a canary.
fn tenant_with_key(canaries: &mut Canaries) -> Tenant {
    let Tenant { id, api } = Tenant::new("canary");
    let scopes = json!({"scopes": ["admin", "send", "read"]});
    let made = api.post(&format!("/tenants/{id}/keys"), &scopes).expect(201);
    let key = made["key"].as_str().unwrap();
    canaries.add("the secret of an API key", key.rsplit('_').next().unwrap());
    Tenant { id, api: Client::with_key(key) }
}

/// Sets the tenant's endpoint, and returns its signing secret.
fn set_endpoint(tenant: &Tenant, url: &str, canaries: &mut Canaries) -> String {
    let push = json!({"kind": "push", "url": url, "allow_private_network": true});
    let set = tenant.api.put(&format!("/tenants/{}/automation", tenant.id), &push).expect(200);
    let secret = set["secret"].as_str().unwrap();
    canaries.add("the signing secret of an endpoint", secret.strip_prefix("whsec_").unwrap());
    secret.to_owned()
}

/// Has a customer write to a number whose tenant's endpoint cannot be reached, sends a forged
/// webhook, and returns the conversation.
fn receive(tenant: &Tenant, number: &Whatsapp<'_>, canaries: &mut Canaries) -> Value {
    let url = format!("{UNREACHABLE}/{}", canaries.create("the URL of an endpoint"));
    set_endpoint(tenant, &url, canaries);
    let from = canaries.add("a customer's phone number", &person());
    let name = canaries.create("a customer's name");
    let text = canaries.create("a received text");
    number.writes(&json!({"from": from, "name": name, "text": text}));
    let conversation = tenant.conversation(&from)["id"].take();
    until_logged("consumer-inbound", &["message received", &tenant.id]);
    // Without a status: the endpoint did not answer.
    let unanswered = ["notification attempted", tenant.id.as_str(), "\"attempt\":1,\"trace_id\""];
    until_logged("consumer-automation", &unanswered);

    let change = example::messages(&number.number, &[text_from(&from, "wamid.CANARY", &text)]);
    let body = example::escaped(&example::envelope(&[change]));
    let wrong = canaries.create("a wrong app secret");
    deliver(&number.url, &body, &example::signature(&wrong, &body)).expect(401);
    until_logged("webhook-whatsapp", &["webhook rejected", &number.integration]);
    conversation
}

/// Sends a message that the provider refuses, whose notification the endpoint answers with 500, and
/// verifies the account with its access token and with a revoked one.
fn send_refused(
    tenant: &Tenant,
    number: &Whatsapp<'_>,
    conversation: &Value,
    canaries: &mut Canaries,
) {
    let url = format!("{}/automation/{}", HUB.simulator, tenant.id);
    let secret = set_endpoint(tenant, &url, canaries);
    let failing = json!({"secret": secret, "script": [{"status": 500, "times": 3}]});
    Client::simulator().put(&format!("/_sim/automation/{}", tenant.id), &failing).expect(200);
    number.faults(&json!([{"kind": "error", "code": 190}]));
    let text = canaries.create("a text that is refused");
    let id = tenant.send(&json!({"conversation": conversation, "text": text}));
    tenant.until(&id, "failed");
    until_logged("api-messages", &["message queued", &id]);
    until_logged("sender-whatsapp", &["message settled", &id]);
    until_logged("consumer-automation", &["notification attempted", &tenant.id, "\"status\":500"]);

    let path = format!("/integrations/{}", number.integration);
    tenant.api.post(&format!("{path}/verify"), &json!({})).expect(200);
    let revoked = canaries.create("a revoked access token");
    let credentials = json!({"credentials": {"WHATSAPP_ACCESS_TOKEN": revoked}});
    tenant.api.put(&path, &credentials).expect(200);
    canaries.assert_provider_failed(tenant.api.post(&format!("{path}/verify"), &json!({})));
}

/// Sends a message through a bot whose server cannot be reached, verifies and registers it. The
/// token is in the URL of each request.
fn send_unreachable(tenant: &Tenant, canaries: &mut Canaries) {
    let bot = tenant.telegram();
    canaries.add("the token of a bot", bot.token.rsplit(':').next().unwrap());
    let chat = canaries.add("a chat id", &digits(13));
    let conversation = bot.hello(chat.parse().unwrap())["id"].take();
    let path = format!("/integrations/{}", bot.integration);
    let unreachable = json!({"settings": {"base_url": UNREACHABLE}, "circuit": {"failures": 1}});
    tenant.api.put(&path, &unreachable).expect(200);
    let text = canaries.create("a text that is not sent");
    tenant.send(&json!({"conversation": conversation, "text": text}));
    until_logged("sender-telegram", &["circuit opened", &bot.integration]);
    for action in ["verify", "register"] {
        let answer = tenant.api.post(&format!("{path}/{action}"), &json!({}));
        canaries.assert_provider_failed(answer);
    }
}

/// Creates an instance whose server cannot be reached, so that its registration fails, and sends it
/// a webhook with a wrong token.
fn create_unreachable(tenant: &Tenant, canaries: &mut Canaries) {
    let key = canaries.create("the key of an instance");
    let settings = json!({"instance": digits(11), "base_url": UNREACHABLE});
    let instance = json!({"provider": "evolution", "settings": settings,
                          "credentials": {"EVOLUTION_API_KEY": key}});
    let made = tenant.api.post("/integrations", &instance).expect(201);
    assert_eq!(made["connection"]["connected"], false, "{made}");
    let token = made["generated_credentials"]["EVOLUTION_WEBHOOK_TOKEN"].as_str().unwrap();
    canaries.add("a generated webhook token", token);
    let id = made["id"].as_str().unwrap();
    until_logged("api-integrations", &["account not connected", id]);

    let wrong = canaries.create("a wrong webhook token");
    let headers = [("content-type", "application/json"), ("x-webhook-token", wrong.as_str())];
    request("POST", made["webhook_url"].as_str().unwrap(), &headers, Some(b"{}")).expect(401);
    until_logged("webhook-evolution", &["webhook rejected", id]);
}

#[test]
fn no_secret_and_no_personal_data_is_in_the_log() {
    let mut canaries = Canaries::default();
    let tenant = tenant_with_key(&mut canaries);
    let number = tenant.whatsapp(&json!({}));
    canaries.add("an app secret", &number.secret);
    let token = canaries.create("an access token");
    number.set(&json!({"token": token}));
    let credentials = json!({"credentials": {"WHATSAPP_ACCESS_TOKEN": token}});
    let path = format!("/integrations/{}", number.integration);
    tenant.api.put(&path, &credentials).expect(200);

    let conversation = receive(&tenant, &number, &mut canaries);
    send_refused(&tenant, &number, &conversation, &mut canaries);
    send_unreachable(&tenant, &mut canaries);
    create_unreachable(&tenant, &mut canaries);
    let secret = canaries.add("the secret of an unknown API key", &format!("{:064x}", random()));
    let unknown = Client::with_key(&format!("swb_01J9ZQ4J9T{}_{secret}", digits(16)));
    let refused = unknown.get("/conversations");
    assert!(matches!(refused.status, 401 | 403), "{refused}");

    let log = HUB.functions_log().unwrap();
    let found: Vec<_> = log
        .lines()
        .map(|line| (canaries.found_in(line), line))
        .filter(|(names, _)| !names.is_empty())
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}
