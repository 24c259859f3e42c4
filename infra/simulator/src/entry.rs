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
use crate::log::Scene;
use crate::orders::WindowOrder;
use crate::provider::{FirstAttempts, SimulatedAccount, SimulatedProvider, Step};
use crate::redelivery::Attempted;
use crate::request::{Refusal, Request, no_call, no_method};

/// Timeout of a call that reports first attempts.
const FIRST_ATTEMPT_DEADLINE: Duration = Duration::from_secs(30);

/// Interval at which a polling call looks again.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// The future result of a control call.
type ControlFuture<'a> = Pin<Box<dyn Future<Output = Result<Value, Refusal>> + Send + 'a>>;

/// An entry in the list of providers.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name: its control calls are below `/_sim/{name}/`.
    pub name: &'static str,
    answer: fn(&App, &Request<'_>) -> Option<Answer>,
    control: for<'a> fn(&'a App, &'a Request<'a>, &'a [&'a str]) -> ControlFuture<'a>,
}

impl Entry {
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
    let reaction =
        app.world().provider(now_ms, |provider: &mut P, scene| provider.answer(scene, request));
    let reaction = reaction.flatten()?;
    drop(app.deliver::<P>(&reaction.account, reaction.deliveries));
    Some(reaction.answer)
}

async fn control<P: SimulatedProvider>(
    app: &App,
    call: &Request<'_>,
    path: &[&str],
) -> Result<Value, Refusal> {
    let mut step = act(app, |provider: &mut P, scene| {
        let (name, what) = match path {
            [name] => (name, ""),
            [name, what] => (name, *what),
            _ => return Err(no_call()),
        };
        P::check_name(name)?;
        begin(provider, scene, call, name, what)
    })?;
    loop {
        step = match step {
            Step::Done(answer) => return Ok(answer),
            Step::Deliver { account, deliveries, wait, then } => {
                let reports = app.deliver::<P>(&account, deliveries);
                let first = if wait { first_attempts(reports).await } else { Vec::new() };
                act(app, |provider, scene| then(provider, scene, first))?
            }
            Step::Ask { request, then } => {
                let how = app.request(request).await;
                act(app, |provider, scene| then(provider, scene, how))?
            }
            Step::Poll { mut look, otherwise } => {
                let polling = async {
                    loop {
                        let found = act(app, |provider: &mut P, _| Ok(look(provider)));
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
    act: impl FnOnce(&mut P, &mut Scene<'_>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let now_ms = app.clock.now_ms();
    app.world().provider(now_ms, act).unwrap_or_else(|| Err(no_call()))
}

/// Begins a control call. Shared calls are handled here, all others by the provider.
fn begin<P: SimulatedProvider>(
    provider: &mut P,
    scene: &mut Scene<'_>,
    call: &Request<'_>,
    name: &str,
    what: &str,
) -> Result<Step<P>, Refusal> {
    let shared = P::Account::CALLS.contains(&what);
    let answer = match (call.method, what) {
        (&Method::PUT, "") => Some(provider.put(scene, name, call)?),
        (_, "faults") if shared => {
            let faults = provider.known(name)?.faults();
            let in_doubt = P::Account::IN_DOUBT;
            faults.map(|faults| change_faults(faults, call, in_doubt)).transpose()?
        }
        (&Method::POST, "window") if shared => {
            let order: WindowOrder = call.read()?;
            let windows = provider.known(name)?.service_windows();
            windows.map(|(windows, length_ms)| set_window(windows, length_ms, scene.now_ms, &order))
        }
        (_, "window") => None,
        (&Method::GET, _) if shared => provider.known(name)?.show(what, call),
        (_, "") => return Err(no_method()),
        _ => return provider.control(scene, name, what, call),
    };
    answer.map(Step::Done).ok_or_else(no_call)
}

/// The results of first attempts. A result has no status if there was no answer in time.
async fn first_attempts(reports: Vec<oneshot::Receiver<Attempted>>) -> FirstAttempts {
    let mut ended = Vec::new();
    for first in reports {
        // The channel closes at once when there is no address to deliver to.
        let how = tokio::time::timeout(FIRST_ATTEMPT_DEADLINE, first).await;
        ended.push(how.map_or_else(|_| Some(Attempted::default()), Result::ok));
    }
    ended
}
