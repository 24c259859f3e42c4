//! Requests and control calls, handled the same way for every provider.

use std::pin::Pin;
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::answer::Answer;
use crate::calls::{change_faults, set_window};
use crate::deliver::App;
use crate::fields::SetWindow;
use crate::log::ProviderContext;
use crate::provider::{FirstAttempts, SimulatedAccount, SimulatedProvider, Step};
use crate::redelivery::AttemptResult;
use crate::request::{Refusal, Request, method_not_allowed, not_found};

/// Timeout of a call that reports first attempts.
const FIRST_ATTEMPT_DEADLINE: Duration = Duration::from_secs(30);

/// Interval at which a polling call looks again.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// The future result of a control call.
type ControlFuture<'a> = Pin<Box<dyn Future<Output = Result<Value, Refusal>> + Send + 'a>>;

/// An entry in the list of providers.
#[derive(Clone, Copy, Debug)]
pub struct ProviderEntry {
    /// Its name: its control calls are below `/_sim/{name}/`.
    pub name: &'static str,
    answer: fn(&App, &Request<'_>) -> Option<Answer>,
    control: for<'a> fn(&'a App, &'a Request<'a>, &'a [&'a str]) -> ControlFuture<'a>,
}

impl ProviderEntry {
    /// The entry of `P`.
    #[must_use]
    pub const fn of<P: SimulatedProvider>() -> Self {
        Self {
            name: P::NAME,
            answer: answer::<P>,
            control: |app, call, path| Box::pin(control::<P>(app, call, path)),
        }
    }

    /// Answers a request to the provider's API; `None` if the path belongs to another provider.
    #[must_use]
    pub fn answer(&self, app: &App, request: &Request<'_>) -> Option<Answer> {
        (self.answer)(app, request)
    }

    /// Answers a control call; `path` is the part of the path below `/_sim/{name}/`.
    ///
    /// # Errors
    /// If the call is wrong.
    pub async fn control(
        &self,
        app: &App,
        call: &Request<'_>,
        path: &[&str],
    ) -> Result<Value, Refusal> {
        (self.control)(app, call, path).await
    }
}

fn answer<P: SimulatedProvider>(app: &App, request: &Request<'_>) -> Option<Answer> {
    let now_ms = app.clock.now_ms();
    let response =
        app.world().provider(now_ms, |provider: &mut P, context| provider.answer(context, request));
    let response = response.flatten()?;
    drop(app.deliver::<P>(&response.account, response.deliveries));
    Some(response.answer)
}

async fn control<P: SimulatedProvider>(
    app: &App,
    call: &Request<'_>,
    path: &[&str],
) -> Result<Value, Refusal> {
    let mut step = act(app, |provider: &mut P, context| {
        let (name, what) = match path {
            [name] => (name, ""),
            [name, what] => (name, *what),
            _ => return Err(not_found()),
        };
        P::check_name(name)?;
        begin(provider, context, call, name, what)
    })?;
    loop {
        step = match step {
            Step::Done(answer) => return Ok(answer),
            Step::Deliver { account, deliveries, wait, then } => {
                let reports = app.deliver::<P>(&account, deliveries);
                let first = if wait { first_attempts(reports).await } else { Vec::new() };
                act(app, |provider, context| then(provider, context, first))?
            }
            Step::Ask { request, then } => {
                let how = app.request(request).await;
                act(app, |provider, context| then(provider, context, how))?
            }
            Step::Poll { mut poll, otherwise } => {
                let polling = async {
                    loop {
                        let found = act(app, |provider: &mut P, _| Ok(poll(provider)));
                        if let Some(answer) = found.ok().flatten() {
                            return answer;
                        }
                        sleep(POLL_INTERVAL).await;
                    }
                };
                let found = tokio::time::timeout(FIRST_ATTEMPT_DEADLINE, polling).await;
                return Ok(found.unwrap_or(otherwise));
            }
        }
    }
}

/// Runs `act` on the provider.
fn act<P: SimulatedProvider, T>(
    app: &App,
    act: impl FnOnce(&mut P, &mut ProviderContext<'_>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let now_ms = app.clock.now_ms();
    app.world().provider(now_ms, act).unwrap_or_else(|| Err(not_found()))
}

/// Begins a control call. Shared calls are handled here, all others by the provider.
fn begin<P: SimulatedProvider>(
    provider: &mut P,
    context: &mut ProviderContext<'_>,
    call: &Request<'_>,
    name: &str,
    what: &str,
) -> Result<Step<P>, Refusal> {
    let shared = P::Account::CALLS.contains(&what);
    let answer = match (call.method, what) {
        (&Method::PUT, "") => Some(provider.put(context, name, call)?),
        (_, "faults") if shared => {
            let faults = provider.require_account(name)?.faults();
            let in_doubt = P::Account::IN_DOUBT;
            faults.map(|faults| change_faults(faults, call, in_doubt)).transpose()?
        }
        (&Method::POST, "window") if shared => {
            let order: SetWindow = call.read()?;
            let windows = provider.require_account(name)?.service_windows();
            windows
                .map(|(windows, length_ms)| set_window(windows, length_ms, context.now_ms, &order))
        }
        (_, "window") => None,
        (&Method::GET, _) if shared => provider.require_account(name)?.show(what, call),
        (_, "") => return Err(method_not_allowed()),
        _ => return provider.control(context, name, what, call),
    };
    answer.map(Step::Done).ok_or_else(not_found)
}

/// The results of first attempts. A result has no status if there was no answer in time.
async fn first_attempts(reports: Vec<oneshot::Receiver<AttemptResult>>) -> FirstAttempts {
    let mut ended = Vec::new();
    for first in reports {
        // The channel closes at once when there is no address to deliver to.
        let how = tokio::time::timeout(FIRST_ATTEMPT_DEADLINE, first).await;
        ended.push(how.map_or_else(|_| Some(AttemptResult::default()), Result::ok));
    }
    ended
}
