//! Read receipts for inbound messages.

use domain::fault::{Classify, Fault};
use domain::ports::{CredentialReader, Directory, Freshness};
use domain::task::MarkReadTask;
use runtime::batch::{Failure, ReceiveContext};
use runtime::{Env, HttpClient};

use super::Sender;

impl<E: Env> Sender<E> {
    /// Marks a message as read at the provider.
    pub(super) async fn mark_read(
        &self,
        task: &MarkReadTask,
        context: ReceiveContext<'_>,
    ) -> Result<(), Failure> {
        let Some(integration) = self.directory.integration(task.integration).await? else {
            return Ok(());
        };
        let credentials =
            self.credential_store.credentials(&integration, Freshness::Cached).await?;
        let Ok(Some(receipts)) = providers::read_receipts(&integration, &credentials) else {
            return Ok(());
        };
        let marked = async {
            let Some(request) = receipts.mark_read(&task.provider_message_id)? else {
                return Ok(());
            };
            let response = self.http_client.call(request).await?;
            receipts.answer(&response).map(|_| ())
        };
        let Err(error) = marked.await else { return Ok(()) };
        let reason = error.code().to_owned();
        tracing::warn!(tenant = %task.tenant, %reason, "message not marked as read");
        match error.fault() {
            Fault::Permanent => Ok(()),
            // Do not delay the conversation's messages for a read receipt.
            _ if context.is_last => Ok(()),
            fault => Err(Failure { fault, reason }),
        }
    }
}
