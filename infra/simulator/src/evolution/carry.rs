//! Carries an instance's webhooks to the hub. Evolution keeps no order among them.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::sleep;

use super::event::Delivery;
use crate::deliver::App;

impl App {
    /// Starts the deliveries of an instance. Each returned channel tells the status of a first
    /// attempt.
    #[must_use = "drop it if nobody waits"]
    pub fn deliver_of_instance(
        &self,
        instance: &str,
        deliveries: Vec<Delivery>,
    ) -> Vec<oneshot::Receiver<u16>> {
        let epoch = self.world().epoch;
        let start = |delivery| {
            let (first, told) = oneshot::channel();
            let (app, instance) = (self.clone(), instance.to_owned());
            tokio::spawn(async move { app.try_all(&instance, &delivery, epoch, first).await });
            told
        };
        deliveries.into_iter().map(start).collect()
    }

    async fn try_all(
        &self,
        instance: &str,
        delivery: &Delivery,
        epoch: u64,
        first: oneshot::Sender<u16>,
    ) {
        let mut first = Some(first);
        sleep(Duration::from_millis(delivery.after_ms)).await;
        let headers: Vec<(&str, String)> =
            delivery.headers.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        for attempt in 1.. {
            let now_ms = self.clock.now_ms();
            let timeout_ms = {
                let mut world = self.world();
                if world.epoch != epoch {
                    return;
                }
                world.instance(now_ms, instance, |instance, scene| {
                    instance.attempt(scene, delivery, attempt);
                    instance.timeout_ms()
                })
            };
            let Some(timeout_ms) = timeout_ms else { return };
            let post = http::Method::POST;
            let body = delivery.body.clone();
            let (how, _) = self.request(post, &delivery.url, &headers, body, timeout_ms).await;
            let now_ms = self.clock.now_ms();
            let wait = {
                let mut world = self.world();
                if world.epoch != epoch {
                    return;
                }
                world.instance(now_ms, instance, |instance, scene| {
                    instance.attempted(scene, delivery, attempt, &how)
                })
            };
            if let Some(first) = first.take() {
                // The caller may have gone.
                first.send(how.status).unwrap_or_default();
            }
            let Some(wait_ms) = wait.flatten() else { return };
            sleep(Duration::from_millis(wait_ms)).await;
        }
    }
}
