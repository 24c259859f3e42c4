//! Webhooks of the accounts whose deliveries need nothing of their own: Infobip's and a
//! BSP's.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::log::Scene;
use crate::orders;
use crate::redelivery::Attempted;

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
    #[serde(default = "orders::once")]
    pub repeat: usize,
    /// Whether a failure is tried again.
    #[serde(default = "orders::yes")]
    pub redeliver: bool,
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
