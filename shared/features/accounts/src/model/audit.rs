//! Audit records: who changed what, when and from where, without secrets.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use domain::provider::Channel;
use domain::tenant::{ApiKey, Principal, Tenant};
use domain::{AuditId, Integration, IntegrationId, KeyId, TenantId};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::automation::{Automation, Push};
use super::limits::Limits;
use super::route::Route;

/// How long an audit record is stored: more than a year, so that a yearly audit finds all of it.
pub const AUDIT_RETENTION: Duration = Duration::from_hours(400 * 24);
/// What stands for a secret.
const MASK: &str = "***";
/// Maximum size of a text in a snapshot, in bytes.
const MAX_TEXT_BYTES: usize = 1_000;
/// Maximum size of a snapshot, in bytes: settings may have up to 256 KiB, and an item 400 KB.
const MAX_SNAPSHOT_BYTES: usize = 16 * 1024;
/// Parts of the names of settings whose values may be secrets, in lower case and without `-` and `_`.
const SECRET_NAMES: &[&str] = &[
    "accesskey",
    "apikey",
    "authorization",
    "cookie",
    "credential",
    "headers",
    "passphrase",
    "password",
    "privatekey",
    "secret",
    "token",
];

/// A record of an administrative change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRecord {
    /// The record id.
    pub id: AuditId,
    /// When the change was made.
    pub at: Timestamp,
    /// The tenant whose data was changed.
    pub tenant: TenantId,
    /// Who made the change.
    pub actor: Actor,
    /// IP address that the request came from.
    pub source_ip: Option<IpAddr>,
    /// Id of the request, which the access log also has.
    pub request_id: Option<String>,
    /// The change.
    #[serde(flatten)]
    pub change: Change,
}

/// Who made a change: the id of an API key, or `platform` for the operator's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Actor {
    /// The operator's key.
    Platform,
    /// An API key.
    Key(KeyId),
}

impl Actor {
    const PLATFORM: &str = "platform";
}

impl From<&Principal> for Actor {
    fn from(principal: &Principal) -> Self {
        principal.key.map_or(Self::Platform, Self::Key)
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platform => f.write_str(Self::PLATFORM),
            Self::Key(id) => id.fmt(f),
        }
    }
}

impl FromStr for Actor {
    type Err = domain::id::InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == Self::PLATFORM { Ok(Self::Platform) } else { text.parse().map(Self::Key) }
    }
}

impl TryFrom<String> for Actor {
    type Error = domain::id::InvalidId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Actor> for String {
    fn from(actor: Actor) -> Self {
        actor.to_string()
    }
}

impl JsonSchema for Actor {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Actor".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^(platform|key_[0-9A-HJKMNP-TV-Z]{26})$" })
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Action {
    /// A tenant was created.
    TenantCreated,
    /// An API key was created.
    ApiKeyCreated,
    /// An API key was revoked.
    ApiKeyRevoked,
    /// An automation was set for a tenant that had none.
    AutomationSet,
    /// An automation was replaced by another one, or given a new signing secret.
    AutomationReplaced,
    /// The automation was removed.
    AutomationDisabled,
    /// An integration was created.
    IntegrationCreated,
    /// A change of an integration's credentials was requested. `integration.updated` follows if it
    /// was made completely.
    IntegrationUpdateRequested,
    /// An integration was updated.
    IntegrationUpdated,
    /// The deletion of an integration was requested, which deletes its credentials first.
    /// `integration.deleted` follows if it was made completely.
    IntegrationDeletionRequested,
    /// An integration was deleted.
    IntegrationDeleted,
    /// The registration of an account with its provider was requested. `integration.registered`
    /// follows if the provider accepted it.
    IntegrationRegistrationRequested,
    /// An account was registered with its provider.
    IntegrationRegistered,
    /// The integrations that send messages on a channel were set.
    RouteSet,
    /// The limits of a tenant were set.
    LimitsSet,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 15] = [
        Self::TenantCreated,
        Self::ApiKeyCreated,
        Self::ApiKeyRevoked,
        Self::AutomationSet,
        Self::AutomationReplaced,
        Self::AutomationDisabled,
        Self::IntegrationCreated,
        Self::IntegrationUpdateRequested,
        Self::IntegrationUpdated,
        Self::IntegrationDeletionRequested,
        Self::IntegrationDeleted,
        Self::IntegrationRegistrationRequested,
        Self::IntegrationRegistered,
        Self::RouteSet,
        Self::LimitsSet,
    ];

    /// Returns the name used in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TenantCreated => "tenant.created",
            Self::ApiKeyCreated => "api_key.created",
            Self::ApiKeyRevoked => "api_key.revoked",
            Self::AutomationSet => "automation.set",
            Self::AutomationReplaced => "automation.replaced",
            Self::AutomationDisabled => "automation.disabled",
            Self::IntegrationCreated => "integration.created",
            Self::IntegrationUpdateRequested => "integration.update_requested",
            Self::IntegrationUpdated => "integration.updated",
            Self::IntegrationDeletionRequested => "integration.deletion_requested",
            Self::IntegrationDeleted => "integration.deleted",
            Self::IntegrationRegistrationRequested => "integration.registration_requested",
            Self::IntegrationRegistered => "integration.registered",
            Self::RouteSet => "route.set",
            Self::LimitsSet => "limits.set",
        }
    }

    /// Returns the action with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == name)
    }
}

impl TryFrom<String> for Action {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::from_name(&name).ok_or("unknown action")
    }
}

impl From<Action> for String {
    fn from(action: Action) -> Self {
        action.as_str().to_owned()
    }
}

impl JsonSchema for Action {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AuditAction".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "enum": Self::ALL.map(Self::as_str) })
    }
}

/// What was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: TargetKind,
    /// Its id: of an automation, the tenant; of a route, the channel.
    pub id: String,
}

/// Type of what was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// A tenant.
    Tenant,
    /// An API key.
    ApiKey,
    /// A tenant's automation.
    Automation,
    /// An integration.
    Integration,
    /// A tenant's route on a channel.
    Route,
}

/// An administrative change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// What was done.
    pub action: Action,
    /// What was changed.
    pub target: Target,
    /// Its state before, without secrets; `null` if it did not exist, or is not part of the change.
    pub before: Option<Snapshot>,
    /// Its state after, without secrets; `null` if it no longer exists, or is not part of the change.
    pub after: Option<Snapshot>,
}

impl Change {
    fn new(action: Action, kind: TargetKind, id: &dyn fmt::Display) -> Self {
        let target = Target { kind, id: id.to_string() };
        Self { action, target, before: None, after: None }
    }

    /// A tenant was created.
    #[must_use]
    pub fn tenant_created(tenant: &Tenant) -> Self {
        let after = Some(Snapshot::new(json!({ "name": tenant.name })));
        let change = Self::new(Action::TenantCreated, TargetKind::Tenant, &tenant.id);
        Self { after, ..change }
    }

    /// An API key was created.
    #[must_use]
    pub fn key_created(key: &ApiKey) -> Self {
        let change = Self::new(Action::ApiKeyCreated, TargetKind::ApiKey, &key.id);
        Self { after: Some(Snapshot::of_key(key)), ..change }
    }

    /// An API key was revoked.
    #[must_use]
    pub fn key_revoked(key: &ApiKey) -> Self {
        let change = Self::new(Action::ApiKeyRevoked, TargetKind::ApiKey, &key.id);
        Self { before: Some(Snapshot::of_key(key)), ..change }
    }

    /// A tenant's automation was set, replaced or removed.
    #[must_use]
    pub fn automation(tenant: &TenantId, before: &Automation, after: &Automation) -> Self {
        let action = match (before, after) {
            (_, Automation::None) => Action::AutomationDisabled,
            (Automation::None, _) => Action::AutomationSet,
            _ => Action::AutomationReplaced,
        };
        Self {
            before: Some(Snapshot::of_automation(before)),
            after: Some(Snapshot::of_automation(after)),
            ..Self::new(action, TargetKind::Automation, tenant)
        }
    }

    /// An integration was created.
    #[must_use]
    pub fn integration_created(after: &Integration) -> Self {
        let change = Self::of_integration(Action::IntegrationCreated, after.id);
        Self { after: Some(Snapshot::of_integration(after)), ..change }
    }

    /// An integration was updated.
    #[must_use]
    pub fn integration_updated(before: &Integration, after: &Integration) -> Self {
        Self {
            before: Some(Snapshot::of_integration(before)),
            after: Some(Snapshot::of_integration(after)),
            ..Self::of_integration(Action::IntegrationUpdated, after.id)
        }
    }

    /// An integration was deleted.
    #[must_use]
    pub fn integration_deleted(before: &Integration) -> Self {
        let change = Self::of_integration(Action::IntegrationDeleted, before.id);
        Self { before: Some(Snapshot::of_integration(before)), ..change }
    }

    /// An action on an integration that changes nothing in the table.
    #[must_use]
    pub fn of_integration(action: Action, id: IntegrationId) -> Self {
        Self::new(action, TargetKind::Integration, &id)
    }

    /// A tenant's route on a channel was set.
    #[must_use]
    pub fn route_set(channel: Channel, before: Option<&Route>, after: &Route) -> Self {
        Self {
            before: before.map(Snapshot::of_route),
            after: Some(Snapshot::of_route(after)),
            ..Self::new(Action::RouteSet, TargetKind::Route, &channel)
        }
    }

    /// A tenant's limits were set.
    #[must_use]
    pub fn limits_set(tenant: &TenantId, before: &Limits, after: &Limits) -> Self {
        Self {
            before: Some(Snapshot::new(json!(before))),
            after: Some(Snapshot::new(json!(after))),
            ..Self::new(Action::LimitsSet, TargetKind::Tenant, tenant)
        }
    }
}

/// The state of what was changed, without secrets.
///
/// It has the names of credentials, and neither their values nor their last characters. In URLs, the
/// user information, the query and the fragment are masked, and in settings every value whose name
/// says that it may be a secret. Long texts are replaced by their length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Snapshot(Map<String, Value>);

impl Snapshot {
    fn new(state: Value) -> Self {
        let Value::Object(mut state) = state else { return Self(Map::new()) };
        state.values_mut().for_each(mask);
        let size = |value: &Value| value.to_string().len();
        let total: usize = state.values().map(size).sum();
        if total > MAX_SNAPSHOT_BYTES {
            // Keep what is short: the long fields are settings with templates.
            for value in state.values_mut().filter(|value| value.is_object() || value.is_array()) {
                let bytes = size(value);
                if bytes > MAX_TEXT_BYTES {
                    *value = omitted(bytes);
                }
            }
        }
        Self(state)
    }

    fn of_key(key: &ApiKey) -> Self {
        Self::new(json!({
            "scopes": key.scopes,
            "created_at": key.created_at,
            "expires_at": key.expires_at,
            "allowed_ips": key.allowed_ips,
        }))
    }

    fn of_automation(automation: &Automation) -> Self {
        let push = |push: &Push| {
            json!({
                "url": push.url,
                "allow_private_network": push.allow_private_network,
                "secret_at": push.secret_at,
                "disabled_at": push.disabled_at,
            })
        };
        Self::new(match automation {
            Automation::None => json!({ "kind": "none" }),
            Automation::Push(endpoint) => json!({ "kind": "push", "endpoint": push(endpoint) }),
            Automation::Pull(pull) => json!({
                "kind": "pull",
                "job_ttl": pull.job_ttl,
                "endpoint": pull.push.as_ref().map(push),
            }),
        })
    }

    fn of_integration(integration: &Integration) -> Self {
        let mut settings = integration.settings.fields();
        mask_secrets(&mut settings);
        let operator_credentials: Vec<_> = integration.operator_credentials().collect();
        Self::new(json!({
            "provider": integration.provider,
            "account": integration.account,
            "settings": settings,
            "credentials": integration.hints.keys().collect::<Vec<_>>(),
            "credentials_at": integration.credentials_at,
            "operator_credentials": operator_credentials,
            "circuit": integration.circuit,
            "trusted_ingest": integration.trusted_ingest,
        }))
    }

    fn of_route(route: &Route) -> Self {
        Self::new(json!({ "integrations": route.integrations, "policy": route.policy }))
    }
}

fn omitted(bytes: usize) -> Value {
    format!("({bytes} bytes)").into()
}

/// Masks every text whose name says that it may be a secret.
fn mask_secrets(fields: &mut Map<String, Value>) {
    for (name, value) in fields {
        let name = name.to_lowercase().replace(['-', '_'], "");
        if SECRET_NAMES.iter().any(|part| name.contains(part)) {
            mask_texts(value);
        } else {
            mask_secrets_below(value);
        }
    }
}

fn mask_secrets_below(value: &mut Value) {
    match value {
        Value::Object(fields) => mask_secrets(fields),
        Value::Array(items) => items.iter_mut().for_each(mask_secrets_below),
        _ => {}
    }
}

fn mask_texts(value: &mut Value) {
    match value {
        Value::String(text) => MASK.clone_into(text),
        Value::Object(fields) => fields.values_mut().for_each(mask_texts),
        Value::Array(items) => items.iter_mut().for_each(mask_texts),
        _ => {}
    }
}

/// Masks the URLs in every text, and replaces long texts by their length.
fn mask(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > MAX_TEXT_BYTES => *value = omitted(text.len()),
        Value::String(text) => *text = mask_urls(text),
        Value::Object(fields) => fields.values_mut().for_each(mask),
        Value::Array(items) => items.iter_mut().for_each(mask),
        _ => {}
    }
}

/// Returns the text with the user information, query and fragment of every URL in it masked.
fn mask_urls(text: &str) -> String {
    // A text that is a URL is masked as a whole. The parser accepts more notations than `://`, such
    // as `https:\\host`.
    if let Some(url) = url::Url::parse(text).ok().filter(url::Url::has_host) {
        return mask_url(url.as_str());
    }
    let is_delimiter = |c: char| c.is_whitespace() || "\"'<>`".contains(c);
    let parts = text.split_inclusive(is_delimiter).map(|part| {
        let word = part.trim_end_matches(is_delimiter);
        let (word, delimiter) = part.split_at(word.len());
        mask_url(word) + delimiter
    });
    parts.collect()
}

/// Masks a URL, or the query of a path.
fn mask_url(word: &str) -> String {
    let (scheme, rest) = match word.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('?') => (Some(scheme), rest),
        _ => (None, word),
    };
    let is_secret = |(at, c): &(usize, char)| match c {
        '?' => scheme.is_some() || rest.get(*at..).is_some_and(|query| query.contains('=')),
        _ => *c == '#' && scheme.is_some(),
    };
    let (kept, mask) = match rest.char_indices().find(is_secret) {
        Some((at, c)) => (rest.get(..at).unwrap_or_default(), format!("{c}{MASK}")),
        None => (rest, String::new()),
    };
    let Some(scheme) = scheme else { return format!("{kept}{mask}") };
    let (authority, path) = kept.split_at(kept.find(['/', '\\']).unwrap_or(kept.len()));
    let authority = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{MASK}@{host}"),
        None => authority.to_owned(),
    };
    format!("{scheme}://{authority}{path}{mask}")
}

/// Which audit records to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// The action.
    pub action: Option<Action>,
    /// The actor.
    pub actor: Option<Actor>,
    /// Made at this time or later.
    pub from: Option<Timestamp>,
    /// Made before this time.
    pub to: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Provider;
    use domain::integration::Settings;

    #[test]
    fn secrets_in_a_url_are_masked() {
        for (url, masked) in [
            ("https://a.example/hook", "https://a.example/hook"),
            ("https://a.example/hook?token=x&y=z", "https://a.example/hook?***"),
            ("https://user:pass@a.example:8443/", "https://***@a.example:8443/"),
            ("https://a@b@c.example/", "https://***@c.example/"),
            ("https://a.example/#secret", "https://a.example/#***"),
            ("https://a.example?x", "https://a.example/?***"),
            ("https:\\\\user:pass@a.example\\p?q", "https://***@a.example/p?***"),
            ("HTTPS://A.example/?a=https://b.example/?x", "https://a.example/?***"),
            ("https://{{host}}/a?key={{key}}", "https://{{host}}/a?***"),
            ("<a href='https://x:y@a.example/?q'>", "<a href='https://***@a.example/?***'>"),
            ("https://a.example/it's?secret", "https://a.example/it's?***"),
            ("{{base_url}}/send?key=x#y", "{{base_url}}/send?***"),
            ("/send?next=https://b.example/", "/send?***"),
            ("Who is it? #1 = you?", "Who is it? #1 = you?"),
        ] {
            assert_eq!(mask_urls(url), masked, "{url}");
        }
    }

    fn integration(settings: Value) -> Integration {
        let Value::Object(settings) = settings else { panic!("an object") };
        let hints = [("CUSTOM_API_KEY".to_owned(), "...last".to_owned())];
        Integration {
            id: IntegrationId::derived(&["audit"]),
            tenant: TenantId::platform(),
            provider: Provider::Custom,
            settings: Settings(settings),
            account: None,
            hints: hints.into_iter().collect(),
            created_at: Timestamp::UNIX_EPOCH,
            credentials_at: Timestamp::UNIX_EPOCH,
            circuit: domain::circuit::Breaker::default(),
            tenant_credentials: std::collections::BTreeSet::new(),
            trusted_ingest: false,
        }
    }

    #[test]
    fn the_snapshot_of_an_integration_has_no_secret() {
        let settings = json!({
            "base_url": "https://canary:canary@a.example/?canary=canary",
            "send": {
                "url": "{{base_url}}/send",
                "headers": { "X-Any": "canary", "Authorization": "Bearer canary" },
                "body": [{ "apiKey": "canary", "text": "{{text}}" }],
            },
            "verify_token": ["canary"],
            "messages_per_second": 5,
        });
        let snapshot = Snapshot::of_integration(&integration(settings));
        let text = serde_json::to_string(&snapshot).unwrap();
        assert!(!text.contains("canary") && !text.contains("...last"), "{text}");
        assert!(text.contains("a.example") && text.contains("CUSTOM_API_KEY"), "{text}");
        assert_eq!(snapshot.0["settings"]["messages_per_second"], 5);
        assert_eq!(snapshot.0["settings"]["send"]["body"][0]["text"], "{{text}}");
    }

    #[test]
    fn a_snapshot_is_small_however_large_the_settings_are() {
        let template = "x".repeat(900);
        let templates: Vec<_> = (0..280).map(|_| template.clone()).collect();
        let settings = json!({ "templates": templates, "long": "y".repeat(200_000) });
        let integration = integration(settings);
        let change = Change::integration_updated(&integration, &integration);
        let text = serde_json::to_string(&change).unwrap();
        assert!(text.len() < 2 * MAX_SNAPSHOT_BYTES, "{} bytes", text.len());
        assert!(text.contains("CUSTOM_API_KEY"));
        let short = Snapshot::new(json!({ "text": "z".repeat(MAX_TEXT_BYTES + 1) }));
        assert_eq!(short.0["text"], format!("({} bytes)", MAX_TEXT_BYTES + 1));
    }

    #[test]
    fn actions_and_actors_are_read_as_they_are_written() {
        for action in Action::ALL {
            let json = serde_json::to_value(action).unwrap();
            assert_eq!(json, action.as_str());
            assert_eq!(serde_json::from_value::<Action>(json).unwrap(), action);
        }
        for actor in [Actor::Platform, Actor::Key(KeyId::derived(&["a"]))] {
            assert_eq!(actor.to_string().parse::<Actor>().unwrap(), actor);
        }
        assert!("admin".parse::<Actor>().is_err());
    }
}
