//! Checks on credentials that the operator provided: a tenant cannot redirect their use.

use std::collections::BTreeSet;

use domain::content::Call;
use domain::integration::Settings;
use domain::{Integration, Provider};
use http::StatusCode;
use runtime::api::Problem;

/// Returns the first setting, by name, whose change would redirect the integration's requests or
/// change its account.
#[must_use]
pub fn redirected_setting(before: &Integration, settings: &Settings) -> Option<String> {
    let entry = providers::spec(before.provider);
    let (old, new) = (before.settings.fields(), settings.fields());
    // Add the defaults of settings that were introduced after the integration was created.
    let old = (entry.settings)(&old).map_or(old, |settings| settings.fields());
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut changed = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    changed.find(|name| entry.selects_target(name)).cloned()
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

/// Checks whether a tenant may place a call through an integration.
///
/// # Errors
/// 403 `operator_credentials` if the call uses the operator's credentials and does more than
/// speak: its instructions run in the operator's account and could use any number of it.
pub fn check_call(integration: &Integration, call: &Call) -> Result<(), Problem> {
    let mut operators = integration.operator_credentials();
    if !operators.any(|name| is_request_credential(integration.provider, name)) {
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
