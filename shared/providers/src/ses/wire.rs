//! Shapes of the events that SES publishes. A field that is missing or of another type is ignored.
//! Source: README, facts 4 to 6.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::raw::{fit, text};
use crate::time::rfc3339;

/// Maximum number of recipients of an email. Source: README, facts 7.
const MAX_RECIPIENTS: usize = 50;

/// Event about one email.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Published<'a> {
    #[serde(borrow)]
    event_type: Option<&'a RawValue>,
    #[serde(borrow)]
    notification_type: Option<&'a RawValue>,
    #[serde(borrow)]
    mail: Option<&'a RawValue>,
    #[serde(borrow)]
    bounce: Option<&'a RawValue>,
    #[serde(borrow)]
    complaint: Option<&'a RawValue>,
    #[serde(borrow)]
    delivery: Option<&'a RawValue>,
    #[serde(borrow)]
    delivery_delay: Option<&'a RawValue>,
    #[serde(borrow)]
    reject: Option<&'a RawValue>,
    #[serde(borrow)]
    open: Option<&'a RawValue>,
    #[serde(borrow)]
    click: Option<&'a RawValue>,
    #[serde(borrow)]
    failure: Option<&'a RawValue>,
    #[serde(borrow)]
    subscription: Option<&'a RawValue>,
    #[serde(borrow)]
    receipt: Option<&'a RawValue>,
}

/// The email that the event is about.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Mail<'a> {
    #[serde(borrow)]
    pub(super) timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) message_id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) source: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) destination: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) common_headers: Option<&'a RawValue>,
}

/// Headers of the email.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Headers<'a> {
    #[serde(borrow)]
    pub(super) from: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) subject: Option<&'a RawValue>,
}

/// Details of the event, from the object named after its type.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Detail<'a> {
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    recipients: Option<&'a RawValue>,
    #[serde(borrow)]
    bounced_recipients: Option<&'a RawValue>,
    #[serde(borrow)]
    complained_recipients: Option<&'a RawValue>,
    #[serde(borrow)]
    delayed_recipients: Option<&'a RawValue>,
    #[serde(borrow)]
    bounce_type: Option<&'a RawValue>,
    #[serde(borrow)]
    bounce_sub_type: Option<&'a RawValue>,
    #[serde(borrow)]
    reason: Option<&'a RawValue>,
    #[serde(borrow)]
    error_message: Option<&'a RawValue>,
}

/// Recipient of an email.
#[derive(Clone, Default)]
pub(super) struct Recipient {
    /// Email address.
    pub(super) address: String,
    /// The enhanced status code, such as `5.1.1`.
    pub(super) status: Option<String>,
    /// The receiving server's diagnostic text.
    pub(super) diagnostic: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireRecipient<'a> {
    #[serde(borrow)]
    email_address: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    diagnostic_code: Option<&'a RawValue>,
}

impl<'a> Published<'a> {
    /// Returns SES's name of the event; `None` if the message is not from SES.
    pub(super) fn name(&self) -> Option<String> {
        text(self.event_type).or_else(|| text(self.notification_type))
    }

    pub(super) fn mail(&self) -> Mail<'a> {
        fit(self.mail).unwrap_or_default()
    }

    /// Returns the details of the event.
    pub(super) fn detail(&self, name: &str) -> Detail<'a> {
        let part = match name {
            "Bounce" => self.bounce,
            "Complaint" => self.complaint,
            "Delivery" => self.delivery,
            "DeliveryDelay" => self.delivery_delay,
            "Reject" => self.reject,
            "Open" => self.open,
            "Click" => self.click,
            "Rendering Failure" => self.failure,
            "Subscription" => self.subscription,
            "Received" => self.receipt,
            _ => None,
        };
        fit(part).unwrap_or_default()
    }
}

impl Detail<'_> {
    pub(super) fn timestamp(&self) -> Option<Timestamp> {
        rfc3339(self.timestamp)
    }

    /// Returns the recipients that the event is about; empty if unknown. Opens, clicks and
    /// preferences do not name the recipient, so they have none if the email has several; incoming
    /// email has none.
    pub(super) fn recipients(&self, name: &str, mail: &Mail<'_>) -> Vec<Recipient> {
        let all = match name {
            "Bounce" => objects(self.bounced_recipients),
            "Complaint" => objects(self.complained_recipients),
            "DeliveryDelay" => objects(self.delayed_recipients),
            "Delivery" => addresses(self.recipients),
            "Send" | "Reject" | "Rendering Failure" => addresses(mail.destination),
            "Open" | "Click" | "Subscription" => {
                let all = addresses(mail.destination);
                if all.len() == 1 { all } else { Vec::new() }
            }
            _ => Vec::new(),
        };
        if all.len() > MAX_RECIPIENTS {
            return Vec::new();
        }
        let mut seen = BTreeSet::new();
        all.into_iter().filter(|one| seen.insert(one.address.clone())).collect()
    }

    /// Returns the reason of a failure, as SES names it.
    pub(super) fn code(&self) -> Option<String> {
        match (text(self.bounce_type), text(self.bounce_sub_type)) {
            (Some(kind), Some(sub)) => Some(format!("{kind}/{sub}")),
            (kind, sub) => kind.or(sub),
        }
    }

    /// Returns the reason of a failure as text.
    pub(super) fn reason(&self) -> Option<String> {
        text(self.reason).or_else(|| text(self.error_message))
    }
}

fn objects(raw: Option<&RawValue>) -> Vec<Recipient> {
    let all = fit::<Vec<&RawValue>>(raw).unwrap_or_default();
    let read = |raw| {
        let one: WireRecipient<'_> = fit(Some(raw))?;
        Some(Recipient {
            address: text(one.email_address)?,
            status: text(one.status),
            diagnostic: text(one.diagnostic_code),
        })
    };
    all.into_iter().filter_map(read).collect()
}

fn addresses(raw: Option<&RawValue>) -> Vec<Recipient> {
    let all = fit::<Vec<&RawValue>>(raw).unwrap_or_default();
    let read = |raw| Some(Recipient { address: text(Some(raw))?, ..Recipient::default() });
    all.into_iter().filter_map(read).collect()
}
