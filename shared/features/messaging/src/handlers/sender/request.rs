//! The request that sends a message to the provider.

use domain::failpoint::{self, Failpoint};
use domain::fault::Classify;
use domain::integration::{Credentials, DeliveryPolicy, Integration};
use domain::ports::{CredentialReader, Freshness};
use domain::sender::{Accepted, MessageSender, Outgoing, RefusalScope, SendError};
use domain::task::SendTask;
use http::StatusCode;
use runtime::{Env, HttpClient};

use super::Sender;
use super::claim::Resend;

/// A sender with its integration and credentials.
pub(super) struct IntegrationSender {
    pub(super) sender: Box<dyn MessageSender>,
    pub(super) integration: Integration,
    pub(super) credentials: Credentials,
}

impl IntegrationSender {
    /// Returns whether a message that the provider may have can be sent again.
    pub(super) fn resend(&self) -> Resend {
        Resend {
            allow_duplicates: self.integration.settings.delivery() == DeliveryPolicy::AtLeastOnce,
            window: self.sender.idempotency_window(),
        }
    }
}

impl<E: Env> Sender<E> {
    /// Sends the message. If the provider rejects the credentials, reads them again, because they
    /// may just have been changed, and sends once more with new ones. This is safe, because a
    /// rejected request sent nothing.
    pub(super) async fn send_with_fresh_credentials(
        &self,
        sender: IntegrationSender,
        task: &SendTask,
    ) -> Result<Accepted, SendError> {
        let sent = self.send_to(sender.sender.as_ref(), task).await;
        let Err(SendError::Refused { status: StatusCode::UNAUTHORIZED, .. }) = &sent else {
            return sent;
        };
        let fresh = self.credential_store.credentials(&sender.integration, Freshness::Reread).await;
        match fresh {
            Ok(fresh) if !fresh.same_as(&sender.credentials) => {
                let sender = self.provider.sender(&sender.integration, &fresh)?;
                self.send_to(sender.as_ref(), task).await
            }
            _ => sent,
        }
    }

    /// Sends the message to the provider; once more if the provider returns a new address of the
    /// recipient.
    async fn send_to(
        &self,
        sender: &dyn MessageSender,
        task: &SendTask,
    ) -> Result<Accepted, SendError> {
        let mut to = task.to.clone();
        let mut moved = false;
        loop {
            let outgoing = Outgoing {
                id: task.message.id,
                channel: task.message.channel,
                integration: task.message.integration,
                hub_url: self.hub_url.as_deref(),
                to: &to,
                content: &task.message.content,
                reply_to: task.reply_to.as_deref(),
            };
            let request = sender.request(&outgoing)?;
            let address = failpoint::is_active(Failpoint::AddressInTheHistory)
                .then(|| request.uri().to_string());
            let response = self.http_client.call(request).await;
            let response = response.map_err(|error| match address {
                Some(address) => SendError::Refused {
                    status: StatusCode::BAD_GATEWAY,
                    code: error.code().to_owned(),
                    remedy: format!("{error} from {address}"),
                    fault: error.fault(),
                    scope: RefusalScope::Account,
                },
                None => error,
            })?;
            match sender.moved_to(&response) {
                Some(address) if !moved => {
                    tracing::info!(message_id = %task.message.id, "the recipient has a new address; sent there");
                    to = address;
                    moved = true;
                }
                _ => return sender.outcome(&outgoing, &response),
            }
        }
    }
}
