//! Who gave an integration's credentials, and so decides what they are used for.

use std::collections::BTreeSet;

use domain::content::Call;
use domain::integration::Settings;
use domain::{Integration, Provider};
use http::StatusCode;

use super::Problem;

/// The first setting, by name, that would lead elsewhere than it does.
pub(super) fn led_elsewhere(before: &Integration, settings: &Settings) -> Option<String> {
    let entry = providers::entry(before.provider);
    let (old, new) = (before.settings.fields(), settings.fields());
    // With the defaults of settings that are younger than the integration.
    let old = (entry.settings)(&old).map_or(old, |settings| settings.fields());
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut changed = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    changed.find(|name| entry.leads(name)).cloned()
}

/// The operator's credentials that a tenant must replace, all in one request, before anything
/// that they are used for is the tenant's to change: those that something is sent with, or all
/// of them where nothing is.
fn to_be_replaced(before: &Integration) -> Vec<&str> {
    let sends = |name: &&str| is_sent_with(before.provider, name);
    if before.hints.keys().any(|name| sends(&name.as_str())) {
        before.operator_credentials().filter(sends).collect()
    } else {
        before.operator_credentials().collect()
    }
}

/// Whether something is sent with the credential of that name: then it is an account's own. What
/// only proves webhooks says nothing of who is written to.
pub(super) fn is_sent_with(provider: Provider, name: &str) -> bool {
    !providers::entry(provider).proving.contains(&name)
}

/// Whether a tenant may change an integration, with the credentials of these names in the same
/// request, so that the setting `led` leads elsewhere.
///
/// # Errors
/// 403 `operator_credentials`, if credentials of the operator's would then be used for what the
/// tenant says.
pub(super) fn check_change(
    before: &Integration,
    led: Option<&str>,
    given: &[String],
) -> Result<(), Problem> {
    let field = match (led, given) {
        (Some(setting), _) => format!("settings.{setting}"),
        (None, [first, ..]) => format!("credentials.{first}"),
        (None, []) => return Ok(()),
    };
    let missing = to_be_replaced(before).into_iter();
    let missing: Vec<&str> = missing.filter(|name| !given.iter().any(|g| g == name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let detail = format!(
        "the operator gave {}, and so decides what this integration is used for: give your own in \
         the same request, or ask the operator to change it. Settings that stay must be given as \
         they are shown",
        missing.join(", ")
    );
    Err(refused(detail).at(&field))
}

/// Whether a tenant may connect an integration's account.
///
/// # Errors
/// 403 `operator_credentials`, if that is done with credentials of the operator's.
pub(super) fn check_use(integration: &Integration) -> Result<(), Problem> {
    let operators: Vec<&str> = integration.operator_credentials().collect();
    if operators.is_empty() {
        return Ok(());
    }
    let detail = format!(
        "the operator gave {}, and so decides what is connected with it: ask the operator to call \
         register, or give credentials of your own by PUT /integrations/{{id}} first",
        operators.join(", ")
    );
    Err(refused(detail))
}

/// Whether a tenant may make a call over an integration.
///
/// # Errors
/// 403 `operator_credentials`, if the operator gave what the call is made with, and the call does
/// more than speak: its instructions run in the operator's account and may use any number of it.
pub(super) fn check_call(integration: &Integration, call: &Call) -> Result<(), Problem> {
    let mut operators = integration.operator_credentials();
    if !operators.any(|name| is_sent_with(integration.provider, name)) {
        return Ok(());
    }
    let field = match &call.twiml {
        Some(twiml) if providers::twilio::twiml::only_speaks(twiml) => return Ok(()),
        Some(_) => "call.twiml",
        None => "call.url",
    };
    let detail = "the operator gave the credentials of this integration, and instructions run in \
         their account: give `twiml` with nothing but Say, Play, Pause, Reject and Hangup, or make \
         an integration with credentials of your own"
        .to_owned();
    Err(refused(detail).at(field))
}

fn refused(detail: String) -> Problem {
    let title = "The operator gave the credentials";
    Problem::new(StatusCode::FORBIDDEN, "operator_credentials", title, detail)
}
