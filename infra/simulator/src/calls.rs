//! Control calls that are the same for every provider.

use std::collections::BTreeMap;

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::faults::{Fault, Faults, Kind};
use crate::fields::SetWindow;
use crate::limits::ServiceWindows;
use crate::request::{Refusal, Request, bad_request, method_not_allowed};

/// Creates the account `name`, or changes its settings.
pub fn put<A, S>(
    accounts: &mut BTreeMap<String, A>,
    name: &str,
    settings: S,
    new: impl FnOnce(&str, S) -> A,
    change: impl FnOnce(&mut A, S),
) {
    match accounts.get_mut(name) {
        Some(account) => change(account, settings),
        None => {
            accounts.insert(name.to_owned(), new(name, settings));
        }
    }
}

/// Lists the messages that a provider has accepted and that `wanted` selects.
pub fn accepted<T: Serialize>(all: &[T], wanted: impl Fn(&T) -> bool) -> Value {
    let accepted: Vec<&T> = all.iter().filter(|one| wanted(one)).collect();
    json!({"count": accepted.len(), "accepted": accepted})
}

/// Sets when a customer last wrote. The business may write freely for `length_ms` after that.
pub fn set_window(
    windows: &mut ServiceWindows,
    length_ms: i64,
    now_ms: i64,
    order: &SetWindow,
) -> Value {
    windows.set(&order.customer, order.last_wrote_ms_ago.map(|ago| now_ms - ago));
    json!({"ok": true, "open": windows.is_open(now_ms, &order.customer, length_ms)})
}

/// Lists, adds or clears the scripted faults. `in_doubt` lists the statuses after which the
/// provider may have accepted a message although it answers with its own error.
///
/// # Errors
/// If the provider never produces such a fault, or the method is another one.
pub fn change_faults(
    faults: &mut Faults,
    call: &Request<'_>,
    in_doubt: &[u16],
) -> Result<Value, Refusal> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        faults: Vec<Fault>,
    }
    match *call.method {
        Method::GET => {}
        Method::DELETE => faults.clear(),
        Method::POST => {
            let order = call.read::<Order>()?;
            let hides = |fault: &Fault| {
                let status = fault.status.unwrap_or(500);
                fault.kind == Kind::Status && fault.accepts() && !in_doubt.contains(&status)
            };
            if order.faults.iter().any(hides) {
                let why = "with this status, the provider did not accept the message; use the kind \
                           `page` to hide an accepted message";
                return Err(bad_request(why.to_owned()));
            }
            faults.add(order.faults);
        }
        _ => return Err(method_not_allowed()),
    }
    Ok(json!({"faults": faults.remaining()}))
}
