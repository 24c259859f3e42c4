//! Carries webhooks and replies to the hub.

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

use crate::automation::ReplyJob;
use crate::clock::Clock;
use crate::redelivery::Attempted;
use crate::telegram::Job;
use crate::whatsapp::Delivery;
use crate::world::World;

/// How long a webhook waits before it looks again whether it has an address.
const NO_ADDRESS: Duration = Duration::from_millis(100);

/// A hub that is reached without a network.
pub trait Hub: Send + Sync {
    /// Answers a request, or says why there is no answer.
    fn call(
        &self,
        request: http::Request<Bytes>,
    ) -> BoxFuture<Result<http::Response<Bytes>, String>>;
}

/// What a call gives, later.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The way to the hub.
#[derive(Clone)]
enum Way {
    Network(Client<HttpConnector, Full<Bytes>>),
    Given(Arc<dyn Hub>),
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Network(_) => "Network",
            Self::Given(_) => "Given",
        })
    }
}

impl Way {
    async fn call(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, String> {
        let client = match self {
            Self::Given(hub) => return hub.call(request).await,
            Self::Network(client) => client,
        };
        let response = client.request(request.map(Full::new)).await;
        let (parts, body) = response.map_err(|error| explain(&error))?.into_parts();
        let body = body.collect().await.map_err(|error| explain(&error))?.to_bytes();
        Ok(http::Response::from_parts(parts, body))
    }
}

/// The world and the way to the hub, shared by all tasks.
#[derive(Clone, Debug)]
pub struct App {
    world: Arc<Mutex<World>>,
    way: Way,
    /// The time.
    pub clock: Clock,
}

impl App {
    /// A new world.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(5))
            .build(connector);
        Self::on(clock, Way::Network(client))
    }

    /// A new world whose hub is no network away.
    #[must_use]
    pub fn beside(clock: Clock, hub: Arc<dyn Hub>) -> Self {
        Self::on(clock, Way::Given(hub))
    }

    fn on(clock: Clock, way: Way) -> Self {
        Self { world: Arc::new(Mutex::new(World::new(clock.now_ms()))), way, clock }
    }

    /// The world, for a moment. Never held over an await.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one request and reports how it ended.
    pub async fn request(
        &self,
        method: http::Method,
        url: &str,
        headers: &[(&str, String)],
        body: Bytes,
        timeout_ms: u64,
    ) -> (Attempted, Bytes) {
        let began = self.clock.now_ms();
        let exchange = async {
            let mut request = http::Request::builder().method(method).uri(url);
            for (name, value) in headers {
                request = request.header(*name, value);
            }
            let request = request.body(body).map_err(|error| error.to_string())?;
            self.way.call(request).await.map(http::Response::into_parts)
        };
        let ended = tokio::time::timeout(Duration::from_millis(timeout_ms), exchange).await;
        let took_ms = self.clock.now_ms() - began;
        let failed = |error: String| {
            (Attempted { took_ms, error: Some(error), ..Attempted::default() }, Bytes::new())
        };
        match ended {
            Err(_) => failed(format!("no answer within {timeout_ms} ms")),
            Ok(Err(error)) => failed(error),
            Ok(Ok((parts, body))) => {
                let retry_after = parts.headers.get(http::header::RETRY_AFTER);
                let how = Attempted {
                    status: parts.status.as_u16(),
                    took_ms,
                    error: None,
                    retry_after_s: retry_after
                        .and_then(|value| value.to_str().ok())
                        .and_then(|value| value.parse().ok()),
                    body: serde_json::from_slice::<Value>(&body).ok(),
                };
                (how, body)
            }
        }
    }

    /// Starts the deliveries of a number. Each returned channel tells the status of a first
    /// attempt; without an address to deliver to it closes.
    #[must_use = "drop it if nobody waits"]
    pub fn deliver(&self, number: &str, deliveries: Vec<Delivery>) -> Vec<oneshot::Receiver<u16>> {
        let epoch = self.world().epoch;
        deliveries
            .into_iter()
            .map(|delivery| {
                let (first, told) = oneshot::channel();
                let (app, number) = (self.clone(), number.to_owned());
                tokio::spawn(async move { app.carry(&number, delivery, epoch, first).await });
                told
            })
            .collect()
    }

    async fn carry(
        &self,
        number: &str,
        delivery: Delivery,
        epoch: u64,
        first: oneshot::Sender<u16>,
    ) {
        let mut first = Some(first);
        sleep(Duration::from_millis(delivery.after_ms)).await;
        let mut attempt = 0;
        let mut began_ms = None;
        loop {
            let Some((url, timeout_ms, headers)) = self.address(number, &delivery, epoch) else {
                return;
            };
            if url.is_empty() {
                // Nobody to tell: the caller need not wait either.
                first.take();
                sleep(NO_ADDRESS).await;
                continue;
            }
            attempt += 1;
            let began_ms = *began_ms.get_or_insert_with(|| self.clock.now_ms());
            let now_ms = self.clock.now_ms();
            self.world()
                .number(now_ms, number, |number, scene| number.attempt(scene, &delivery, attempt));
            let body = delivery.body.clone();
            let (how, _) = self.request(http::Method::POST, &url, &headers, body, timeout_ms).await;
            let now_ms = self.clock.now_ms();
            let passed_ms = u64::try_from(now_ms - began_ms).unwrap_or(0);
            let wait = {
                let mut world = self.world();
                if world.epoch != epoch {
                    return;
                }
                world.number(now_ms, number, |number, scene| {
                    number.attempted(scene, &delivery, attempt, passed_ms, &how)
                })
            };
            if let Some(first) = first.take() {
                // The caller may have gone.
                first.send(how.status).unwrap_or_default();
            }
            match wait.flatten() {
                Some(wait_ms) => sleep(Duration::from_millis(wait_ms)).await,
                None => return,
            }
        }
    }

    /// Where a delivery goes now; `None` if the world has been reset.
    #[expect(clippy::type_complexity, reason = "read once, right above")]
    fn address(
        &self,
        number: &str,
        delivery: &Delivery,
        epoch: u64,
    ) -> Option<(String, u64, Vec<(&'static str, String)>)> {
        let world = self.world();
        let number = world.numbers.get(number).filter(|_| world.epoch == epoch)?;
        let (url, timeout_ms) = number.target();
        Some((url.to_owned(), timeout_ms, number.headers(delivery)))
    }

    /// Starts delivering the updates of every chat that is not being served yet.
    pub fn pump(&self, bot: i64) {
        let (epoch, chats) = {
            let mut world = self.world();
            let chats = world.bots.get_mut(&bot).map(crate::telegram::Bot::begin);
            (world.epoch, chats.unwrap_or_default())
        };
        for chat in chats {
            let app = self.clone();
            tokio::spawn(async move {
                app.serve_chat(bot, chat, epoch).await;
                // A chat that had to wait for a free connection may go now.
                app.pump(bot);
            });
        }
    }

    async fn serve_chat(&self, bot: i64, chat: i64, epoch: u64) {
        let mut progress: Option<(i64, u32, i64)> = None;
        loop {
            let job = {
                let mut world = self.world();
                if world.epoch != epoch {
                    return;
                }
                world.bots.get_mut(&bot).and_then(|bot| bot.next(chat))
            };
            let Some(job) = job else { return };
            let now_ms = self.clock.now_ms();
            let (attempt, began_ms) = match progress {
                Some((update, attempt, began_ms)) if update == job.update_id => {
                    (attempt + 1, began_ms)
                }
                _ => (1, now_ms),
            };
            progress = Some((job.update_id, attempt, began_ms));
            self.world().bot(now_ms, bot, |bot, scene| bot.attempt(scene, job.update_id, attempt));
            let copies = self.send_copies(&job).await;
            let now_ms = self.clock.now_ms();
            let passed_ms = u64::try_from(now_ms - began_ms).unwrap_or(0);
            let wait = {
                let mut world = self.world();
                if world.epoch != epoch {
                    return;
                }
                world.bot(now_ms, bot, |bot, scene| {
                    bot.attempted(scene, chat, job.update_id, attempt, passed_ms, &copies)
                })
            };
            if let Some(wait_ms) = wait.flatten() {
                sleep(Duration::from_millis(wait_ms)).await;
            }
        }
    }

    /// Sends all copies of an update side by side.
    pub async fn send_copies(&self, job: &Job) -> Vec<Attempted> {
        let sends: Vec<_> = (0..job.copies)
            .map(|_| {
                let (app, job) = (self.clone(), job.clone());
                tokio::spawn(async move {
                    let post = http::Method::POST;
                    app.request(post, &job.url, &job.headers, job.body, job.timeout_ms).await.0
                })
            })
            .collect();
        let mut ended = Vec::new();
        for send in sends {
            ended.push(send.await.unwrap_or_default());
        }
        ended
    }

    /// Sends an automation's reply through the hub, several times if need be.
    pub fn reply(&self, automation: &str, job: ReplyJob) {
        let epoch = self.world().epoch;
        let (app, name) = (self.clone(), automation.to_owned());
        tokio::spawn(async move {
            sleep(Duration::from_millis(job.after_ms)).await;
            let headers = [
                ("content-type", "application/json".to_owned()),
                ("authorization", format!("Bearer {}", job.key)),
                ("idempotency-key", job.webhook_id.clone()),
            ];
            for attempt in 1..=job.attempts {
                let body = Bytes::from(job.body.to_string());
                let post = http::Method::POST;
                let (how, _) = app.request(post, &job.url, &headers, body, 30_000).await;
                let again = matches!(how.status, 0 | 429 | 500..=599);
                let last = !again || attempt == job.attempts;
                {
                    let mut world = app.world();
                    if world.epoch != epoch {
                        return;
                    }
                    world.automation(app.clock.now_ms(), &name, |automation, scene| {
                        automation.replied(scene, &job, attempt, &how, last);
                    });
                }
                if last {
                    return;
                }
                let pause_ms = how.retry_after_s.map_or(200 << attempt.min(6), |s| s * 1000);
                sleep(Duration::from_millis(pause_ms)).await;
            }
        });
    }
}

/// An error with its causes.
fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
