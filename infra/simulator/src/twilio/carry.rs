//! Carries Twilio's webhooks to the hub.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::{Delivery, proof};
use crate::deliver::App;

/// How the first attempt of a webhook ended: the status, 0 if there was none, and the answer.
pub(crate) type First = (u16, Bytes);

impl App {
    /// Starts the deliveries of an account. Each returned channel tells how a first attempt
    /// ended.
    pub(crate) fn deliver_twilio(
        &self,
        account: &str,
        deliveries: Vec<Delivery>,
    ) -> Vec<oneshot::Receiver<First>> {
        let epoch = self.world().epoch;
        deliveries
            .into_iter()
            .map(|delivery| {
                let (first, told) = oneshot::channel();
                let (app, account) = (self.clone(), account.to_owned());
                tokio::spawn(async move {
                    app.carry_twilio(&account, delivery, epoch, first).await;
                });
                told
            })
            .collect()
    }

    async fn carry_twilio(
        &self,
        account: &str,
        delivery: Delivery,
        epoch: u64,
        first: oneshot::Sender<First>,
    ) {
        let mut first = Some(first);
        sleep(Duration::from_millis(delivery.after_ms)).await;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let now_ms = self.clock.now_ms();
            let call = {
                let mut world = self.world();
                if world.epoch != epoch {
                    return;
                }
                world.twilio_account(now_ms, account, |account, scene| {
                    account.attempt(scene, &delivery, attempt);
                    account.call_of(&delivery)
                })
            };
            let Some((url, headers, timeout_ms)) = call else { return };
            let body = Bytes::from(proof::encode(&delivery.params));
            let (how, answer) =
                self.request(http::Method::POST, &url, &headers, body, timeout_ms).await;
            let now_ms = self.clock.now_ms();
            let wait = {
                let mut world = self.world();
                if world.epoch != epoch {
                    return;
                }
                world.twilio_account(now_ms, account, |account, scene| {
                    account.attempted(scene, &delivery, attempt, &how, &answer)
                })
            };
            if let Some(first) = first.take() {
                // The caller may have gone.
                first.send((how.status, answer)).unwrap_or_default();
            }
            match wait.flatten() {
                Some(wait_ms) => sleep(Duration::from_millis(wait_ms)).await,
                None => return,
            }
        }
    }
}
