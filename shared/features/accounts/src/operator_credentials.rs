//! Checks on credentials that the operator provided: a tenant cannot redirect their use.

use std::collections::BTreeSet;

use domain::content::{Call, Content, Template};
use domain::integration::Settings;
use domain::{Integration, Provider};
use http::StatusCode;
use runtime::api::Problem;

/// Returns the first setting, by name, whose change would redirect the integration's requests or
/// change its account.
#[must_use]
pub fn redirected_setting(before: &Integration, settings: &Settings) -> Option<String> {
    let entry = providers::spec(before.provider);
    changed_setting(before, settings, |name| entry.selects_target(name))
}

/// Returns the first setting, by name, whose change would extend the use of the operator's
/// credentials: one that redirects the integration, or the content templates that a tenant may
/// send.
#[must_use]
pub fn restricted_setting(before: &Integration, settings: &Settings) -> Option<String> {
    let entry = providers::spec(before.provider);
    changed_setting(before, settings, |name| {
        entry.selects_target(name) || is_template_list(before.provider, name)
    })
}

/// Returns whether the setting lists the content templates that a tenant may send with the
/// operator's credentials.
#[must_use]
pub fn is_template_list(provider: Provider, setting: &str) -> bool {
    provider == Provider::Twilio && setting == "templates"
}

/// Returns the first changed setting, by name, that matters.
fn changed_setting(
    before: &Integration,
    settings: &Settings,
    matters: impl Fn(&str) -> bool,
) -> Option<String> {
    let (old, new) = (before.settings.fields(), settings.fields());
    // Add the defaults of settings that were introduced after the integration was created.
    let read = (providers::spec(before.provider).settings)(&old);
    let old = read.map_or(old, |settings| settings.fields());
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut changed = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    changed.find(|name| matters(name)).cloned()
}

/// Returns the operator's credentials that a tenant must replace, all in the same request, before
/// it can change what they are used for: those that requests are sent with or, if requests are
/// sent with none, all of them.
fn credentials_to_replace(before: &Integration) -> Vec<&str> {
    let sends = |name: &&str| is_request_credential(before.provider, name);
    if before.hints.keys().any(|name| sends(&name.as_str())) {
        before.operator_credentials().filter(sends).collect()
    } else {
        before.operator_credentials().collect()
    }
}

/// Returns whether requests are sent with the credential `name`; such a credential belongs to one
/// account. A credential that only verifies webhooks does not determine the account.
#[must_use]
pub fn is_request_credential(provider: Provider, name: &str) -> bool {
    !providers::spec(provider).verification_credentials.contains(&name)
}

/// Checks whether a tenant may change an integration. `redirected` is the setting that would
/// redirect it; `given` are the names of the credentials in the same request.
///
/// # Errors
/// 403 `operator_credentials` if the operator's credentials would be used for a target that the
/// tenant chose.
pub fn check_change(
    before: &Integration,
    redirected: Option<&str>,
    given: &[String],
) -> Result<(), Problem> {
    let field = match (redirected, given) {
        (Some(setting), _) => format!("settings.{setting}"),
        (None, [first, ..]) => format!("credentials.{first}"),
        (None, []) => return Ok(()),
    };
    let missing = credentials_to_replace(before).into_iter();
    let missing: Vec<&str> = missing.filter(|name| !given.iter().any(|g| g == name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let detail = format!(
        "the operator provided {}, so only the operator can change what this integration is used \
         for: send your own credentials in the same request, or ask the operator to change it. \
         Repeat unchanged settings as they are shown",
        missing.join(", ")
    );
    Err(refused(detail).at(&field))
}

/// Checks whether a tenant may connect an integration's account.
///
/// # Errors
/// 403 `operator_credentials` if connecting uses the operator's credentials.
pub fn check_use(integration: &Integration) -> Result<(), Problem> {
    let operators: Vec<&str> = integration.operator_credentials().collect();
    if operators.is_empty() {
        return Ok(());
    }
    let detail = format!(
        "the operator provided {}, so only the operator can connect the account: ask the operator \
         to call register, or first replace the credentials with PUT /integrations/{{id}}",
        operators.join(", ")
    );
    Err(refused(detail))
}

/// Checks whether a tenant may create access tokens for an integration's account.
///
/// # Errors
/// 403 `operator_credentials` if the token would be signed with the operator's credentials: its
/// holder could take the calls of every identity of the operator's account, and use every
/// application of it.
pub fn check_token(integration: &Integration) -> Result<(), Problem> {
    if !is_sent_by_operator(integration) {
        return Ok(());
    }
    let detail = "the operator provided the credentials of this integration, and an access token \
        gives access to the operator's account: ask the operator to create the token, or create \
        an integration with your own credentials"
        .to_owned();
    Err(refused(detail).at("integration"))
}

/// Checks whether a tenant may send a content through an integration.
///
/// # Errors
/// 403 `operator_credentials` if the content uses more of the operator's account than the
/// integration: a call that does more than speak, or a template that its settings do not list.
pub fn check_content(integration: &Integration, content: &Content) -> Result<(), Problem> {
    match content {
        Content::Call { call } => check_call(integration, call),
        Content::Template { template } => check_template(integration, template),
        _ => Ok(()),
    }
}

/// Returns whether the operator provided credentials that requests are sent with.
fn is_sent_by_operator(integration: &Integration) -> bool {
    let mut operators = integration.operator_credentials();
    operators.any(|name| is_request_credential(integration.provider, name))
}

/// Checks whether a tenant may send a message template through an integration.
///
/// # Errors
/// 403 `operator_credentials` if the template is named by its id at Twilio and the operator
/// provided the credentials: the id may be of a template that is not meant for the tenant.
fn check_template(integration: &Integration, template: &Template) -> Result<(), Problem> {
    let is_permitted = integration.provider != Provider::Twilio
        || providers::twilio::is_declared_template(integration, template);
    if is_permitted || !is_sent_by_operator(integration) {
        return Ok(());
    }
    let detail = "the operator provided the credentials of this integration, so a template must \
        be a name in its setting `templates`: ask the operator to add the template there, or \
        create an integration with your own credentials"
        .to_owned();
    Err(refused(detail).at("template.name"))
}

/// Checks whether a tenant may place a call through an integration.
///
/// # Errors
/// 403 `operator_credentials` if the call uses the operator's credentials and does more than
/// speak: its instructions run in the operator's account and could use any number of it.
fn check_call(integration: &Integration, call: &Call) -> Result<(), Problem> {
    if !is_sent_by_operator(integration) {
        return Ok(());
    }
    let field = match &call.twiml {
        Some(twiml) if providers::twilio::twiml::only_speaks(twiml) => return Ok(()),
        Some(_) => "call.twiml",
        None => "call.url",
    };
    let detail =
        "the operator provided the credentials of this integration, and call instructions \
        run in the operator's account: use `twiml` with only Say, Play, Pause, Reject and Hangup, \
        or create an integration with your own credentials"
            .to_owned();
    Err(refused(detail).at(field))
}

fn refused(detail: String) -> Problem {
    let title = "The operator provided the credentials";
    Problem::new(StatusCode::FORBIDDEN, "operator_credentials", title, detail)
}
