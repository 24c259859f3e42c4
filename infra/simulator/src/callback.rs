//! Webhooks of the accounts whose deliveries need nothing of their own: Infobip's and a
//! BSP's.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::deliver::App;
use crate::log::Scene;
use crate::redelivery::Attempted;
use crate::world::World;

/// How long a webhook waits before it looks again whether it has an address.
const NO_ADDRESS: Duration = Duration::from_millis(100);

/// Whose a webhook is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// An Infobip sender's, by its number.
    Infobip(String),
    /// A BSP account's, by its name.
    Bsp(String),
}

/// A webhook on its way.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// Its number, for the log.
    pub id: u64,
    /// `message`, `report`, `raw` or `forged`.
    pub what: &'static str,
    /// When to begin.
    pub after_ms: u64,
    /// The bytes; none: what is due by then is gathered into one.
    pub body: Option<Bytes>,
    /// Where it goes in place of the account's address.
    pub url: Option<String>,
    /// The messages in it, with what it says of each.
    pub told: Vec<(String, &'static str)>,
    /// Whether a failure is tried again.
    pub redeliver: bool,
    /// Headers in place of the true proof.
    pub forged: Option<Vec<(&'static str, String)>>,
}

impl Delivery {
    /// As the log shows it.
    #[must_use]
    pub fn shown(&self, attempt: u32) -> Value {
        let ids: Vec<_> = self.told.iter().map(|(id, _)| id).collect();
        let statuses: Vec<_> = self.told.iter().map(|(_, status)| status).collect();
        json!({"delivery": self.id, "what": self.what, "attempt": attempt,
               "ids": ids, "statuses": statuses})
    }

    /// As the log shows how an attempt ended.
    #[must_use]
    pub fn answered(&self, attempt: u32, how: &Attempted) -> Value {
        let mut shown = self.shown(attempt);
        if let Some(fields) = shown.as_object_mut() {
            fields.insert("status".into(), json!(how.status));
            fields.insert("took_ms".into(), json!(how.took_ms));
            fields.insert("error".into(), json!(how.error));
        }
        shown
    }
}

/// One attempt, ready to go.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Where to; empty: nowhere yet.
    pub url: String,
    /// How long the attempt may take.
    pub timeout_ms: u64,
    /// The headers, with the proof.
    pub headers: Vec<(&'static str, String)>,
}

/// Who sends webhooks.
pub trait Account {
    /// Prepares the next attempt; `None` if there is nothing left to carry.
    fn attempt(
        &mut self,
        scene: &mut Scene<'_>,
        delivery: &mut Delivery,
        attempt: u32,
    ) -> Option<Letter>;

    /// Notes how an attempt ended. Says how long to wait for the next one, if there is one.
    fn attempted(
        &mut self,
        scene: &mut Scene<'_>,
        delivery: &Delivery,
        attempt: u32,
        passed_ms: u64,
        how: &Attempted,
    ) -> Option<u64>;
}

/// An answer, and the webhooks that follow.
pub type Outcome = crate::answer::Outcome<Delivery>;

/// What the control API wants delivered with the true proof.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawWebhook {
    /// The whole body.
    pub body: Option<Value>,
    /// Or the bytes.
    pub raw: Option<String>,
    /// Copies.
    #[serde(default = "one")]
    pub repeat: usize,
    /// Whether a failure is tried again.
    #[serde(default = "yes")]
    pub redeliver: bool,
}

/// When a person last wrote, as the control API sets it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowOrder {
    /// The person's number.
    pub customer: String,
    /// How long ago; none: never.
    pub last_wrote_ms_ago: Option<i64>,
}

const fn one() -> usize {
    1
}

const fn yes() -> bool {
    true
}

impl RawWebhook {
    /// The copies to deliver.
    ///
    /// # Errors
    /// If it has no body, or two.
    pub fn deliveries(&self, scene: &mut Scene<'_>) -> Result<Vec<Delivery>, String> {
        let body: Bytes = match (&self.body, &self.raw) {
            (Some(body), None) => body.to_string().into(),
            (None, Some(raw)) => raw.clone().into(),
            _ => return Err("give one of body, raw".into()),
        };
        let what = Delivery {
            what: "raw",
            body: Some(body),
            redeliver: self.redeliver,
            ..Delivery::default()
        };
        Ok(copies(scene, &what, self.repeat))
    }
}

/// Copies of a delivery, each with a number of its own.
pub fn copies(scene: &mut Scene<'_>, delivery: &Delivery, copies: usize) -> Vec<Delivery> {
    (0..copies).map(|_| Delivery { id: scene.ids.serial(), ..delivery.clone() }).collect()
}

fn with<T>(
    world: &mut World,
    now_ms: i64,
    whose: &Whose,
    act: impl FnOnce(&mut dyn Account, &mut Scene<'_>) -> T,
) -> Option<T> {
    match whose {
        Whose::Infobip(number) => world.infobip(now_ms, number, |sender, scene| act(sender, scene)),
        Whose::Bsp(name) => world.bsp(now_ms, name, |account, scene| act(account, scene)),
    }
}

impl App {
    /// Starts the deliveries of an account. Each returned channel tells the status of a first
    /// attempt; without an address to deliver to it closes.
    #[must_use = "drop it if nobody waits"]
    pub fn call_back(
        &self,
        whose: &Whose,
        deliveries: Vec<Delivery>,
    ) -> Vec<oneshot::Receiver<u16>> {
        let epoch = self.world().epoch;
        let begin = |delivery| {
            let (first, told) = oneshot::channel();
            let (app, whose) = (self.clone(), whose.clone());
            tokio::spawn(async move { app.carry_back(&whose, delivery, epoch, first).await });
            told
        };
        deliveries.into_iter().map(begin).collect()
    }

    async fn carry_back(
        &self,
        whose: &Whose,
        mut delivery: Delivery,
        epoch: u64,
        first: oneshot::Sender<u16>,
    ) {
        let mut first = Some(first);
        sleep(Duration::from_millis(delivery.after_ms)).await;
        let (mut attempt, mut began_ms) = (1, self.clock.now_ms());
        loop {
            let now_ms = self.clock.now_ms();
            let letter = {
                let mut world = self.world();
                if world.epoch != epoch {
                    return;
                }
                with(&mut world, now_ms, whose, |account, scene| {
                    account.attempt(scene, &mut delivery, attempt)
                })
            };
            let Some(letter) = letter.flatten() else { return };
            if letter.url.is_empty() {
                // Nobody to tell: the caller need not wait either.
                first.take();
                sleep(NO_ADDRESS).await;
                began_ms = self.clock.now_ms();
                continue;
            }
            let body = delivery.body.clone().unwrap_or_default();
            let post = http::Method::POST;
            let (how, _) =
                self.request(post, &letter.url, &letter.headers, body, letter.timeout_ms).await;
            let now_ms = self.clock.now_ms();
            let passed_ms = u64::try_from(now_ms - began_ms).unwrap_or(0);
            let wait = {
                let mut world = self.world();
                if world.epoch != epoch {
                    return;
                }
                with(&mut world, now_ms, whose, |account, scene| {
                    account.attempted(scene, &delivery, attempt, passed_ms, &how)
                })
            };
            if let Some(first) = first.take() {
                // The caller may have gone.
                first.send(how.status).unwrap_or_default();
            }
            let Some(wait_ms) = wait.flatten() else { return };
            sleep(Duration::from_millis(wait_ms)).await;
            attempt += 1;
        }
    }
}
