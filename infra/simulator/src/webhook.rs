//! Webhooks that need no delivery rules of their own: those of Infobip and the BSP.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::fields;
use crate::log::ProviderContext;
use crate::redelivery::AttemptResult;

/// A webhook to be delivered.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// Its number, for the log.
    pub id: u64,
    /// `message`, `report`, `raw` or `forged`.
    pub what: &'static str,
    /// Delay before the first attempt.
    pub after_ms: u64,
    /// The body; `None`: one batch of all reports that are due at that time.
    pub body: Option<Bytes>,
    /// The address to use in place of the account's.
    pub url: Option<String>,
    /// The messages in it, each with the status that it reports.
    pub reported: Vec<(String, &'static str)>,
    /// Whether a failed attempt is retried.
    pub redeliver: bool,
    /// Headers in place of the genuine signature or credentials.
    pub forged: Option<Vec<(&'static str, String)>>,
}

impl Delivery {
    /// The log fields of an attempt.
    #[must_use]
    pub fn log_fields(&self, attempt: u32) -> Value {
        let ids: Vec<_> = self.reported.iter().map(|(id, _)| id).collect();
        let statuses: Vec<_> = self.reported.iter().map(|(_, status)| status).collect();
        json!({"delivery": self.id, "what": self.what, "attempt": attempt,
               "ids": ids, "statuses": statuses})
    }

    /// The log fields of the result of an attempt.
    #[must_use]
    pub fn result_fields(&self, attempt: u32, how: &AttemptResult) -> Value {
        let mut shown = self.log_fields(attempt);
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

/// A webhook that the control API asks to deliver, with a genuine signature.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawWebhook {
    /// The whole body.
    pub body: Option<Value>,
    /// The exact bytes.
    pub raw: Option<String>,
    /// Number of copies.
    #[serde(default = "fields::once")]
    pub repeat: usize,
    /// Whether a failed attempt is retried.
    #[serde(default = "fields::yes")]
    pub redeliver: bool,
}

impl RawWebhook {
    /// The copies to deliver.
    ///
    /// # Errors
    /// If it has no body, or two.
    pub fn deliveries(&self, context: &mut ProviderContext<'_>) -> Result<Vec<Delivery>, String> {
        let body: Bytes = match (&self.body, &self.raw) {
            (Some(body), None) => body.to_string().into(),
            (None, Some(raw)) => raw.clone().into(),
            _ => return Err("give exactly one of body, raw".into()),
        };
        let what = Delivery {
            what: "raw",
            body: Some(body),
            redeliver: self.redeliver,
            ..Delivery::default()
        };
        Ok(copies(context, &what, self.repeat))
    }
}

/// Copies of a delivery, each with its own number.
pub fn copies(
    context: &mut ProviderContext<'_>,
    delivery: &Delivery,
    copies: usize,
) -> Vec<Delivery> {
    (0..copies).map(|_| Delivery { id: context.ids.serial(), ..delivery.clone() }).collect()
}
