//! Who carries a tenant's WhatsApp messages: a provider, and others for when that one cannot.

use std::collections::BTreeMap;

use domain::circuit::Breaker;
use domain::ports::{Circuits, Clock, Dice, Registry, Routes, Safe, Vault};
use domain::provider::Channel;
use domain::route::{Carrier, Choice, Policy, Route};
use domain::tenant::Scope;
use domain::{Integration, IntegrationId, Provider, TenantId};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::integrations::{
    ChangeIntegration, CreateIntegration, Generated, Integrations, MadeIntegration, OneOrMany,
};
use super::{ApiReply, ApiRequest, Params, Problem};
use crate::sender::Caller;

/// The most carriers one message may be handed on between.
const MOST_CARRIERS: usize = 8;
/// The longest a carrier may be waited for before the next one is asked: as long as a message
/// is worth sending.
const MOST_PATIENCE: u32 = 24 * 3600;

/// Body of `PUT /tenants/{tenant}/whatsapp-settings`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetWhatsapp {
    /// Who carries the messages: `whatsapp` (or `meta`), `infobip`, `twilio`, `evolution` or
    /// `custom`.
    whatsapp_provider: String,
    /// Which of the tenant's integrations there, if they have several.
    #[serde(default)]
    integration: Option<IntegrationId>,
    /// The account's settings and, by their usual names, its credentials: the integration is
    /// made, or changed if there is one. A credential that is given as it is shown stays as it
    /// is.
    #[serde(default)]
    provider_config: Map<String, Value>,
    /// Who carries a message that the provider cannot carry now, in this order.
    #[serde(default)]
    failover: Vec<Other>,
    /// How a carrier is chosen.
    #[serde(default)]
    policy: SetPolicy,
    /// The provider's own share of new conversations, by the policy `weighted`.
    #[serde(default = "one")]
    weight: u32,
}

const fn one() -> u32 {
    1
}

/// Another carrier.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Other {
    /// A provider where the tenant has one integration, or an integration's id.
    Name(String),
    /// The same, with its share of new conversations.
    Weighted {
        /// A provider, or an integration's id.
        carrier: String,
        /// Its share, by the policy `weighted`.
        weight: u32,
    },
}

/// A policy, or only its choice.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum SetPolicy {
    /// Who is asked first.
    Choice(Choice),
    /// The whole policy.
    Whole(Policy),
}

impl Default for SetPolicy {
    fn default() -> Self {
        Self::Whole(Policy::default())
    }
}

/// Who carries a tenant's WhatsApp messages.
#[derive(Serialize, JsonSchema)]
pub(super) struct WhatsappView {
    /// The provider that carries them.
    whatsapp_provider: Provider,
    /// The tenant's integration there.
    integration: IntegrationId,
    /// Its settings, and the end of each credential to recognise it by.
    provider_config: Map<String, Value>,
    /// The credentials that the hub generated because they were absent, by name. Shown only in
    /// the answer that makes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    generated_credentials: Option<Generated>,
    /// Who carries a message that the provider cannot carry now, in this order.
    failover: Vec<OtherView>,
    /// How a carrier is chosen.
    policy: Policy,
    /// The provider's own share of new conversations, by the policy `weighted`.
    weight: u32,
}

/// Another carrier.
#[derive(Serialize, JsonSchema)]
struct OtherView {
    /// The integration's id.
    carrier: IntegrationId,
    /// Where it is.
    provider: Provider,
    /// Its share, by the policy `weighted`.
    weight: u32,
}

/// Whether an integration can carry WhatsApp messages.
fn carries(integration: &Integration) -> bool {
    integration.provider.carries(Channel::Whatsapp)
}

impl<S, V, T, C, R> Integrations<S, V, T, C, R>
where
    S: Registry + Circuits + Routes,
    V: Vault + Safe,
    T: Caller,
    C: Clock,
    R: Dice,
{
    pub(super) async fn show_whatsapp(
        &self,
        request: &ApiRequest,
        params: &Params<'_>,
    ) -> Result<ApiReply, Problem> {
        let tenant = request.tenant(Scope::Admin, Some(&params.get("tenant")?))?;
        let (route, all) = futures::join!(
            self.store.route(&tenant, Channel::Whatsapp),
            self.store.integrations(&tenant),
        );
        let mut all = all?;
        all.retain(carries);
        let route = match (route?, all.as_slice()) {
            (Some(route), _) => route,
            // Who has one integration needs no settings.
            (None, [one]) => alone(one.id),
            (None, _) => return Err(Problem::not_found()),
        };
        ApiReply::json(StatusCode::OK, &view(&route, &all)?)
    }

    pub(super) async fn set_whatsapp(
        &self,
        request: &ApiRequest,
        params: &Params<'_>,
    ) -> Result<ApiReply, Problem> {
        let tenant = request.tenant(Scope::Admin, Some(&params.get("tenant")?))?;
        let asked: SetWhatsapp = request.read()?;
        if self.store.tenant(&tenant).await?.is_none() {
            return Err(Problem::not_found());
        }
        let provider = provider(&asked.whatsapp_provider)?;
        let policy = match asked.policy {
            SetPolicy::Choice(choice) => Policy { choice, ..Policy::default() },
            SetPolicy::Whole(policy) => policy,
        };
        if policy.patience_seconds > MOST_PATIENCE {
            let detail = format!("at most {MOST_PATIENCE}");
            return Err(Problem::invalid("policy.patience_seconds", detail));
        }
        let (route, all) = futures::join!(
            self.store.route(&tenant, Channel::Whatsapp),
            self.store.integrations(&tenant),
        );
        let mut all = all?;
        all.retain(carries);
        let chosen = chosen(provider, asked.integration, route?.as_ref(), &all)?;
        // Before anything is changed.
        let mut carriers = Vec::new();
        for other in asked.failover {
            let (name, weight) = match other {
                Other::Name(name) => (name, 1),
                Other::Weighted { carrier, weight } => (carrier, weight),
            };
            let integration = named(&name, &all, chosen.map(|chosen| chosen.id))?;
            carriers.push(Carrier { integration, weight });
        }
        check(&carriers, chosen.map(|chosen| chosen.id))?;
        let first =
            self.configured(request, tenant.clone(), provider, chosen, asked.provider_config);
        let MadeIntegration { integration: first, generated } = first.await?;
        carriers.insert(0, Carrier { integration: first.id, weight: asked.weight });
        all.retain(|integration| integration.id != first.id);
        all.push(first);
        let route = Route { carriers, policy };
        self.store.set_route(&tenant, Channel::Whatsapp, &route).await?;
        tracing::info!(%tenant, %provider, carriers = route.carriers.len(), "route set");
        let view = WhatsappView { generated_credentials: generated, ..view(&route, &all)? };
        ApiReply::json(StatusCode::OK, &view)
    }

    /// The provider's integration as it is to be: made, changed, or as it was.
    async fn configured(
        &self,
        request: &ApiRequest,
        tenant: TenantId,
        provider: Provider,
        chosen: Option<&Integration>,
        config: Map<String, Value>,
    ) -> Result<MadeIntegration, Problem> {
        let known = providers::entry(provider).credentials;
        let (mut settings, mut credentials) = (Map::new(), BTreeMap::new());
        for (name, value) in config {
            if !known.contains(&name.as_str()) {
                settings.insert(name, value);
                continue;
            }
            let hint = chosen.and_then(|chosen| chosen.hints.get(&name));
            if hint.is_some_and(|hint| value == hint.as_str()) {
                continue;
            }
            let field = format!("provider_config.{name}");
            let value: OneOrMany = serde_json::from_value(value)
                .map_err(|_| Problem::invalid(&field, "a text, or a list of texts".to_owned()))?;
            credentials.insert(name, value);
        }
        let made = match chosen {
            Some(chosen) if settings.is_empty() && credentials.is_empty() => {
                Ok(MadeIntegration { integration: chosen.clone(), generated: None })
            }
            Some(chosen) => {
                let settings = (!settings.is_empty()).then_some(settings);
                let change = ChangeIntegration { settings, credentials, ..Default::default() };
                self.alter(request, chosen, change).await
            }
            None if settings.is_empty() && credentials.is_empty() => {
                let detail =
                    format!("the tenant has no integration at {provider}: give its account");
                return Err(Problem::invalid("provider_config", detail));
            }
            None => {
                let wanted = CreateIntegration {
                    tenant: None,
                    provider,
                    settings,
                    credentials,
                    circuit: Breaker::default(),
                    trusted_ingest: false,
                };
                let made = self.make(request, tenant, wanted).await;
                if let Ok(made) = &made {
                    // What it says is logged, and shown by health.
                    let _connection = self.connect(request, &made.integration).await;
                }
                made
            }
        };
        // In the words of this body.
        made.map_err(|problem| match problem.field.clone() {
            Some(field) => {
                let name = field.strip_prefix("settings.").or(field.strip_prefix("credentials."));
                let field = name.map_or(field.clone(), |name| format!("provider_config.{name}"));
                problem.at(&field)
            }
            None => problem,
        })
    }
}

/// The provider of that name, if it carries WhatsApp.
fn provider(name: &str) -> Result<Provider, Problem> {
    let name = if name == "meta" { "whatsapp" } else { name };
    let provider = name.parse::<Provider>().ok();
    provider.filter(|provider| provider.carries(Channel::Whatsapp)).ok_or_else(|| {
        let carriers = Provider::ALL.iter();
        let carriers = carriers.filter(|p| p.carries(Channel::Whatsapp));
        let names: Vec<_> = carriers.map(|provider| provider.as_str()).collect();
        Problem::invalid("whatsapp_provider", format!("one of {}", names.join(", ")))
    })
}

/// The integration meant: the one named, the one that carries already, or the only one.
fn chosen<'a>(
    provider: Provider,
    named: Option<IntegrationId>,
    route: Option<&Route>,
    all: &'a [Integration],
) -> Result<Option<&'a Integration>, Problem> {
    let there: Vec<&Integration> =
        all.iter().filter(|integration| integration.provider == provider).collect();
    if let Some(id) = named {
        let found = there.into_iter().find(|integration| integration.id == id);
        return found.map(Some).ok_or_else(|| {
            let detail = format!("the tenant has no such integration at {provider}");
            Problem::invalid("integration", detail)
        });
    }
    let carries = |integration: &&&Integration| {
        let carriers = route.into_iter().flat_map(|route| &route.carriers);
        carriers.take(1).any(|carrier| carrier.integration == integration.id)
    };
    if let Some(first) = there.iter().find(carries) {
        return Ok(Some(first));
    }
    match there.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        _ => {
            let detail = format!("the tenant has several integrations at {provider}: say which");
            Err(Problem::invalid("integration", detail))
        }
    }
}

/// The integration that a name in `failover` means.
fn named(
    name: &str,
    all: &[Integration],
    first: Option<IntegrationId>,
) -> Result<IntegrationId, Problem> {
    let wrong = |detail: String| Err(Problem::invalid("failover", detail));
    if let Ok(id) = name.parse::<IntegrationId>() {
        if all.iter().any(|integration| integration.id == id) {
            return Ok(id);
        }
        return wrong(format!("the tenant has no integration {id} that carries WhatsApp"));
    }
    let provider = provider(name).map_err(|problem| problem.at("failover"))?;
    let mut there = all
        .iter()
        .filter(|integration| integration.provider == provider && Some(integration.id) != first);
    match (there.next(), there.next()) {
        (Some(one), None) => Ok(one.id),
        (Some(_), Some(_)) => {
            wrong(format!("the tenant has several integrations at {provider}: give an id"))
        }
        (None, _) => wrong(format!("the tenant has no other integration at {provider}")),
    }
}

/// Looks at the carriers behind `first`.
fn check(others: &[Carrier], first: Option<IntegrationId>) -> Result<(), Problem> {
    if others.len() >= MOST_CARRIERS {
        let detail = format!("at most {} others", MOST_CARRIERS - 1);
        return Err(Problem::invalid("failover", detail));
    }
    let twice = |(at, carrier): (usize, &Carrier)| {
        first == Some(carrier.integration)
            || others.iter().take(at).any(|earlier| earlier.integration == carrier.integration)
    };
    if others.iter().enumerate().any(twice) {
        let detail = "each integration once; the first is the provider's own".to_owned();
        return Err(Problem::invalid("failover", detail));
    }
    Ok(())
}

fn alone(integration: IntegrationId) -> Route {
    Route { carriers: vec![Carrier { integration, weight: 1 }], policy: Policy::default() }
}

fn view(route: &Route, all: &[Integration]) -> Result<WhatsappView, Problem> {
    let found = |id| all.iter().find(|integration| integration.id == id);
    let mut carriers = route.carriers.iter().filter_map(|c| Some((c, found(c.integration)?)));
    let (carrier, first) = carriers.next().ok_or_else(Problem::not_found)?;
    let mut provider_config = first.settings.fields();
    let hints = first.hints.iter();
    provider_config.extend(hints.map(|(name, hint)| (name.clone(), hint.clone().into())));
    Ok(WhatsappView {
        whatsapp_provider: first.provider,
        integration: first.id,
        provider_config,
        generated_credentials: None,
        failover: carriers
            .map(|(carrier, integration)| OtherView {
                carrier: integration.id,
                provider: integration.provider,
                weight: carrier.weight,
            })
            .collect(),
        policy: route.policy,
        weight: carrier.weight,
    })
}
