//! Integrations that a message can fail over to.

use domain::content::Content;
use domain::conversation::Parties;
use domain::integration::Integration;
use domain::message::Message;
use domain::ports::PortResult;
use jiff::Timestamp;

use crate::ports::ConversationReader;

/// Returns the integration if it can reach the recipient `to` at `now`: on a channel with a service
/// window, each account has its own.
pub(crate) async fn reachable(
    store: &impl ConversationReader,
    integration: Option<Integration>,
    message: &Message,
    to: &str,
    now: Timestamp,
) -> PortResult<Option<Integration>> {
    let Some(integration) = integration else { return Ok(None) };
    let window = providers::service_window(integration.provider, message.channel);
    let Some(window) = window.filter(|_| !matches!(message.content, Content::Template { .. }))
    else {
        return Ok(Some(integration));
    };
    let Ok(counterpart) = providers::address(integration.provider, to) else {
        return Ok(None);
    };
    let (account, channel) = (integration.conversation_account(), message.channel);
    let (tenant, counterpart) = (&message.tenant, counterpart.as_str());
    let parties = Parties { tenant, channel, account: &account, counterpart };
    let id = parties.conversation();
    if id == message.conversation {
        return Ok(Some(integration));
    }
    let conversation = store.read_conversation(tenant, id).await?;
    Ok(conversation.filter(|c| c.in_service_window(now, window)).map(|_| integration))
}
