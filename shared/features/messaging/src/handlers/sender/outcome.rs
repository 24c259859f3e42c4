//! Outcome of an attempt, which settles the message or hands it over.

use domain::IntegrationId;
use domain::message::Status;
use domain::sender::{Accepted, SendError};

/// Outcome of an attempt: the new status and its step in the history.
pub(super) struct Outcome {
    pub(super) status: Status,
    pub(super) code: Option<String>,
    pub(super) detail: Option<String>,
    pub(super) accepted: Option<Accepted>,
}

impl Outcome {
    pub(super) fn of(status: Status, code: &str, detail: &str) -> Self {
        let (code, detail) = (Some(code.to_owned()), Some(detail.to_owned()));
        Self { status, code, detail, accepted: None }
    }

    pub(super) fn failed(code: &str, detail: &str) -> Self {
        Self::of(Status::Failed, code, detail)
    }

    /// Returns the outcome of an error, as failed.
    pub(super) fn refused(error: &SendError) -> Self {
        Self::of(Status::Failed, error.code(), &error.detail())
    }

    pub(super) fn accepted(accepted: Accepted) -> Self {
        Self { status: Status::Accepted, code: None, detail: None, accepted: Some(accepted) }
    }
}

/// A message to hand over to the next integration (failover).
pub(super) struct Handover {
    /// Outcome of the attempt, or why none was made.
    pub(super) outcome: Outcome,
    /// Whether an attempt was made.
    pub(super) counted: bool,
    /// Current integration, if it is to be tried again after the others.
    pub(super) current: Option<IntegrationId>,
    /// Whether the current integration may have sent the message.
    pub(super) in_doubt: bool,
}

impl Handover {
    /// Returns the handover of a message whose integration cannot be used.
    pub(super) fn unusable(outcome: Outcome) -> Self {
        Self { outcome, counted: true, current: None, in_doubt: false }
    }

    /// Returns the handover of a message that is not tried at `integration`, whose circuit is open.
    pub(super) fn skipped(integration: IntegrationId) -> Self {
        let detail = "this account has failed too often recently, so it was not tried";
        let outcome = Outcome::failed("circuit_open", detail);
        Self { outcome, counted: false, current: Some(integration), in_doubt: false }
    }
}
