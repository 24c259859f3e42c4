//! WhatsApp settings of a tenant: the provider for its messages, and the failover integrations.

use std::collections::BTreeMap;

use domain::circuit::Breaker;
use domain::provider::Channel;
use domain::tenant::Scope;
use domain::{Integration, IntegrationId, Provider, TenantId};
use http::StatusCode;
use runtime::Env;
use runtime::api::{ApiReply, ApiRequest, Params, Problem};
use serde_json::{Map, Value};

use super::integrations::{
    CreateIntegration, Integrations, OneOrMany, SavedIntegration, UpdateIntegration,
};
use super::whatsapp_schema::{
    FailoverEntry, FailoverEntryView, SetPolicy, SetWhatsapp, WhatsappView,
};
use crate::model::audit::Change;
use crate::model::route::{Policy, Route, RoutedIntegration};
use crate::ports::{Registry, Routes};

/// Maximum number of integrations in a route.
const MAX_ROUTE_INTEGRATIONS: usize = 8;
/// Maximum time in seconds to wait for one integration before failover: the lifetime of a
/// message.
const MAX_PATIENCE_SECONDS: u32 = 24 * 3600;

/// Returns whether an integration supports WhatsApp messages.
fn supports_whatsapp(integration: &Integration) -> bool {
    integration.provider.supports(Channel::Whatsapp)
}

impl<E: Env> Integrations<E> {
    pub(super) async fn get_whatsapp(
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
        all.retain(supports_whatsapp);
        let route = match (route?, all.as_slice()) {
            (Some(route), _) => route,
            // A tenant with a single integration needs no settings.
            (None, [one]) => single_route(one.id),
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
        let input: SetWhatsapp = request.read()?;
        if self.store.tenant(&tenant).await?.is_none() {
            return Err(Problem::not_found());
        }
        let provider = provider(&input.whatsapp_provider)?;
        let policy = match input.policy {
            SetPolicy::Choice(choice) => Policy { choice, ..Policy::default() },
            SetPolicy::Whole(policy) => policy,
        };
        if policy.patience_seconds > MAX_PATIENCE_SECONDS {
            let detail = format!("must be at most {MAX_PATIENCE_SECONDS}");
            return Err(Problem::invalid("policy.patience_seconds", detail));
        }
        let (route, all) = futures::join!(
            self.store.route(&tenant, Channel::Whatsapp),
            self.store.integrations(&tenant),
        );
        let mut all = all?;
        all.retain(supports_whatsapp);
        let before = route?;
        let chosen = chosen(provider, input.integration, before.as_ref(), &all)?;
        // Resolve the failover integrations before anything is changed.
        let mut carriers = Vec::new();
        for other in input.failover {
            let (name, weight) = match other {
                FailoverEntry::Name(name) => (name, 1),
                FailoverEntry::Weighted { integration, weight } => (integration, weight),
            };
            let integration = named(&name, &all, chosen.map(|chosen| chosen.id))?;
            carriers.push(RoutedIntegration { integration, weight });
        }
        check(&carriers, chosen.map(|chosen| chosen.id))?;
        let first =
            self.configured(request, tenant.clone(), provider, chosen, input.provider_config);
        let SavedIntegration { integration: first, generated } = first.await?;
        carriers.insert(0, RoutedIntegration { integration: first.id, weight: input.weight });
        all.retain(|integration| integration.id != first.id);
        all.push(first);
        let route = Route { integrations: carriers, policy };
        let change = Change::route_set(Channel::Whatsapp, before.as_ref(), &route);
        let audit = self.audit(request, &tenant, change)?;
        self.store.set_route(&tenant, Channel::Whatsapp, &route, &audit).await?;
        tracing::info!(%tenant, %provider, carriers = route.integrations.len(), "route set");
        let view = WhatsappView { generated_credentials: generated, ..view(&route, &all)? };
        ApiReply::json(StatusCode::OK, &view)
    }

    /// Returns the provider's integration: created, updated or unchanged.
    async fn configured(
        &self,
        request: &ApiRequest,
        tenant: TenantId,
        provider: Provider,
        chosen: Option<&Integration>,
        config: Map<String, Value>,
    ) -> Result<SavedIntegration, Problem> {
        let known = providers::spec(provider).credentials;
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
            let value: OneOrMany = serde_json::from_value(value).map_err(|_| {
                Problem::invalid(&field, "must be a string or a list of strings".to_owned())
            })?;
            credentials.insert(name, value);
        }
        let saved = match chosen {
            Some(chosen) if settings.is_empty() && credentials.is_empty() => {
                Ok(SavedIntegration { integration: chosen.clone(), generated: None })
            }
            Some(chosen) => {
                let settings = (!settings.is_empty()).then_some(settings);
                let change = UpdateIntegration { settings, credentials, ..Default::default() };
                self.update(request, chosen, change).await
            }
            None if settings.is_empty() && credentials.is_empty() => {
                let detail = format!(
                    "the tenant has no integration at {provider}: give the account's settings"
                );
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
                let saved = self.create_for(request, tenant, wanted).await;
                if let Ok(saved) = &saved {
                    // The result is logged, and `health` shows it.
                    let _connection = self.connect(request, &saved.integration).await;
                }
                saved
            }
        };
        // Name the field of this request's body.
        saved.map_err(|problem| match problem.field.clone() {
            Some(field) => {
                let name = field.strip_prefix("settings.").or(field.strip_prefix("credentials."));
                let field = name.map_or(field.clone(), |name| format!("provider_config.{name}"));
                problem.at(&field)
            }
            None => problem,
        })
    }
}

/// Returns the provider `name`, if it supports WhatsApp.
fn provider(name: &str) -> Result<Provider, Problem> {
    let provider = name.parse::<Provider>().ok();
    provider.filter(|provider| provider.supports(Channel::Whatsapp)).ok_or_else(|| {
        let providers = Provider::ALL.iter().filter(|p| p.supports(Channel::Whatsapp));
        let names: Vec<_> = providers.map(|provider| provider.as_str()).collect();
        Problem::invalid("whatsapp_provider", format!("must be one of {}", names.join(", ")))
    })
}

/// Returns the integration at the provider: the one named, the first one of the current route, or
/// the only one.
fn chosen<'a>(
    provider: Provider,
    named: Option<IntegrationId>,
    route: Option<&Route>,
    all: &'a [Integration],
) -> Result<Option<&'a Integration>, Problem> {
    let candidates: Vec<&Integration> =
        all.iter().filter(|integration| integration.provider == provider).collect();
    if let Some(id) = named {
        let found = candidates.into_iter().find(|integration| integration.id == id);
        return found.map(Some).ok_or_else(|| {
            let detail = format!("the tenant has no such integration at {provider}");
            Problem::invalid("integration", detail)
        });
    }
    let is_first = |integration: &&&Integration| {
        let carriers = route.into_iter().flat_map(|route| &route.integrations);
        carriers.take(1).any(|carrier| carrier.integration == integration.id)
    };
    if let Some(first) = candidates.iter().find(is_first) {
        return Ok(Some(first));
    }
    match candidates.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        _ => {
            let detail = format!("the tenant has several integrations at {provider}: name one");
            Err(Problem::invalid("integration", detail))
        }
    }
}

/// Returns the integration that an entry of `failover` names.
fn named(
    name: &str,
    all: &[Integration],
    first: Option<IntegrationId>,
) -> Result<IntegrationId, Problem> {
    let invalid = |detail: String| Err(Problem::invalid("failover", detail));
    if let Ok(id) = name.parse::<IntegrationId>() {
        if all.iter().any(|integration| integration.id == id) {
            return Ok(id);
        }
        return invalid(format!("the tenant has no integration {id} for WhatsApp"));
    }
    let provider = provider(name).map_err(|problem| problem.at("failover"))?;
    let mut candidates = all
        .iter()
        .filter(|integration| integration.provider == provider && Some(integration.id) != first);
    match (candidates.next(), candidates.next()) {
        (Some(one), None) => Ok(one.id),
        (Some(_), Some(_)) => {
            invalid(format!("the tenant has several integrations at {provider}: use an id"))
        }
        (None, _) => invalid(format!("the tenant has no other integration at {provider}")),
    }
}

/// Checks the failover integrations that follow `first`.
fn check(others: &[RoutedIntegration], first: Option<IntegrationId>) -> Result<(), Problem> {
    if others.len() >= MAX_ROUTE_INTEGRATIONS {
        let detail = format!("must have at most {} entries", MAX_ROUTE_INTEGRATIONS - 1);
        return Err(Problem::invalid("failover", detail));
    }
    let is_repeated = |(at, carrier): (usize, &RoutedIntegration)| {
        first == Some(carrier.integration)
            || others.iter().take(at).any(|earlier| earlier.integration == carrier.integration)
    };
    if others.iter().enumerate().any(is_repeated) {
        let detail =
            "must name each integration once, and not the provider's own integration".to_owned();
        return Err(Problem::invalid("failover", detail));
    }
    Ok(())
}

fn single_route(integration: IntegrationId) -> Route {
    Route {
        integrations: vec![RoutedIntegration { integration, weight: 1 }],
        policy: Policy::default(),
    }
}

fn view(route: &Route, all: &[Integration]) -> Result<WhatsappView, Problem> {
    let found = |id| all.iter().find(|integration| integration.id == id);
    let mut carriers = route.integrations.iter().filter_map(|c| Some((c, found(c.integration)?)));
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
            .map(|(carrier, integration)| FailoverEntryView {
                integration: integration.id,
                provider: integration.provider,
                weight: carrier.weight,
            })
            .collect(),
        policy: route.policy,
        weight: carrier.weight,
    })
}
