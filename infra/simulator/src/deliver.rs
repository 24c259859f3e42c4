//! Delivery of webhooks to the hub.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::clock::Clock;
use crate::log::ProviderContext;
use crate::provider::{Delivery, Next, OutgoingWebhook, SimulatedAccount, SimulatedProvider};
use crate::redelivery::AttemptResult;
use crate::world::World;

/// Interval between two checks of whether a webhook has an address.
const NO_ADDRESS: Duration = Duration::from_millis(100);

/// A hub in the same process, called without a network.
pub trait Hub: Send + Sync {
    /// Answers a request, or returns the reason why there is no answer.
    fn call(
        &self,
        request: http::Request<Bytes>,
    ) -> BoxFuture<Result<http::Response<Bytes>, String>>;
}

/// A boxed future.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// How requests reach the hub: over HTTP or in the same process.
#[derive(Clone)]
enum Transport {
    Network(Client<HttpConnector, Full<Bytes>>),
    SameProcess(Arc<dyn Hub>),
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Network(_) => "Network",
            Self::SameProcess(_) => "SameProcess",
        })
    }
}

impl Transport {
    async fn call(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, String> {
        let client = match self {
            Self::SameProcess(hub) => return hub.call(request).await,
            Self::Network(client) => client,
        };
        let response = client.request(request.map(Full::new)).await;
        let (parts, body) = response.map_err(|error| with_causes(&error))?.into_parts();
        let body = body.collect().await.map_err(|error| with_causes(&error))?.to_bytes();
        Ok(http::Response::from_parts(parts, body))
    }
}

/// The state of the simulator and the transport to the hub, shared by all tasks.
#[derive(Clone, Debug)]
pub struct App {
    world: Arc<Mutex<World>>,
    transport: Transport,
    /// The clock.
    pub clock: Clock,
}

impl App {
    /// Creates an empty simulator that reaches the hub over HTTP.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(5))
            .build(connector);
        Self::with_transport(clock, Transport::Network(client))
    }

    /// Creates an empty simulator that calls the hub in the same process.
    #[must_use]
    pub fn in_process(clock: Clock, hub: Arc<dyn Hub>) -> Self {
        Self::with_transport(clock, Transport::SameProcess(hub))
    }

    fn with_transport(clock: Clock, transport: Transport) -> Self {
        Self { world: Arc::new(Mutex::new(World::new(clock.now_ms()))), transport, clock }
    }

    /// The state of the simulator. The lock is never held over an await.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one request and reports how it ended.
    pub async fn request(&self, request: OutgoingWebhook) -> AttemptResult {
        let OutgoingWebhook { method, url, timeout_ms, headers, body, .. } = request;
        let began = self.clock.now_ms();
        let exchange = async {
            let mut request = http::Request::builder().method(method).uri(url);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            let request = request.body(body).map_err(|error| error.to_string())?;
            self.transport.call(request).await.map(http::Response::into_parts)
        };
        let ended = tokio::time::timeout(Duration::from_millis(timeout_ms), exchange).await;
        let took_ms = self.clock.now_ms() - began;
        let failed = |error: String| AttemptResult {
            took_ms,
            error: Some(error),
            ..AttemptResult::default()
        };
        match ended {
            Err(_) => failed(format!("no answer within {timeout_ms} ms")),
            Ok(Err(error)) => failed(error),
            Ok(Ok((parts, bytes))) => {
                let retry_after = parts.headers.get(http::header::RETRY_AFTER);
                AttemptResult {
                    status: parts.status.as_u16(),
                    took_ms,
                    error: None,
                    retry_after_s: retry_after
                        .and_then(|value| value.to_str().ok())
                        .and_then(|value| value.parse().ok()),
                    body: serde_json::from_slice::<Value>(&bytes).ok(),
                    bytes,
                    copies: Vec::new(),
                }
            }
        }
    }

    /// Sends all copies of a webhook concurrently.
    async fn send(&self, webhook: OutgoingWebhook) -> AttemptResult {
        if webhook.copies <= 1 {
            return self.request(webhook).await;
        }
        let sends: Vec<_> = (0..webhook.copies)
            .map(|_| {
                let (app, webhook) = (self.clone(), webhook.clone());
                tokio::spawn(async move { app.request(webhook).await })
            })
            .collect();
        let mut ended = Vec::new();
        for send in sends {
            ended.push(send.await.unwrap_or_default());
        }
        let first = ended.remove(0);
        AttemptResult { copies: ended, ..first }
    }

    /// Starts the deliveries of an account. Each returned channel reports how the first attempt of
    /// one delivery ended; it closes without a value if there is no attempt, for example because
    /// the account has no webhook address.
    #[must_use = "drop the channels if no caller waits"]
    pub fn deliver<P: SimulatedProvider>(
        &self,
        account: &str,
        deliveries: Vec<Delivery<P>>,
    ) -> Vec<oneshot::Receiver<AttemptResult>> {
        let epoch = self.world().epoch;
        let begin = |delivery| {
            let (first, report) = oneshot::channel();
            let (app, account) = (self.clone(), account.to_owned());
            tokio::spawn(
                async move { app.run_delivery::<P>(&account, delivery, epoch, first).await },
            );
            report
        };
        deliveries.into_iter().map(begin).collect()
    }

    /// Runs `act` on an account; `None` if there is none, or the simulator has been reset.
    fn account<P: SimulatedProvider, T>(
        &self,
        name: &str,
        epoch: u64,
        act: impl FnOnce(&mut P::Account, &mut ProviderContext<'_>) -> T,
    ) -> Option<T> {
        let now_ms = self.clock.now_ms();
        let mut world = self.world();
        if world.epoch != epoch {
            return None;
        }
        world.account::<P, T>(now_ms, name, act)
    }

    /// Runs a delivery until it is accepted or given up, and starts the deliveries that waited for
    /// it.
    async fn run_delivery<P: SimulatedProvider>(
        &self,
        name: &str,
        mut delivery: Delivery<P>,
        epoch: u64,
        first: oneshot::Sender<AttemptResult>,
    ) {
        if let Some(after_ms) = P::Account::delay_ms(&delivery) {
            sleep(Duration::from_millis(after_ms)).await;
        }
        let mut first = Some(first);
        loop {
            self.attempt_until_done::<P>(name, &mut delivery, epoch, &mut first).await;
            let advanced =
                self.account::<P, _>(name, epoch, |account, _| account.advance(&mut delivery));
            if advanced != Some(true) {
                break;
            }
        }
        let released = self.account::<P, _>(name, epoch, |account, _| account.released());
        drop(self.deliver::<P>(name, released.unwrap_or_default()));
    }

    /// Attempts one webhook until it is accepted or given up.
    async fn attempt_until_done<P: SimulatedProvider>(
        &self,
        name: &str,
        delivery: &mut Delivery<P>,
        epoch: u64,
        first: &mut Option<oneshot::Sender<AttemptResult>>,
    ) {
        let mut attempt = 1;
        let mut began_ms = None;
        loop {
            let next = self.account::<P, _>(name, epoch, |account, context| {
                (account.attempt(context, delivery, attempt), context.now_ms)
            });
            let (webhook, now_ms) = match next {
                None | Some((Next::Nothing, _)) => return,
                Some((Next::NoAddress, _)) => {
                    // There is no first attempt to report: dropping the sender releases the caller.
                    first.take();
                    sleep(NO_ADDRESS).await;
                    continue;
                }
                Some((Next::Send(webhook), now_ms)) => (webhook, now_ms),
            };
            let began_ms = *began_ms.get_or_insert(now_ms);
            let how = self.send(webhook).await;
            let wait = self.account::<P, _>(name, epoch, |account, context| {
                let passed_ms = u64::try_from(context.now_ms - began_ms).unwrap_or(0);
                account.attempted(context, delivery, attempt, passed_ms, &how)
            });
            let Some(wait) = wait else { return };
            if let Some(first) = first.take() {
                // The caller may have stopped waiting.
                first.send(how).unwrap_or_default();
            }
            let Some(wait_ms) = wait else { return };
            sleep(Duration::from_millis(wait_ms)).await;
            attempt += 1;
        }
    }
}

/// Formats an error with its causes.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
