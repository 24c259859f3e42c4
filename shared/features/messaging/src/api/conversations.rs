//! Conversations of a tenant.

use domain::conversation::Conversation;
use domain::message::Message;
use domain::ports::{Publisher, Record};
use domain::provider::Channel;
use domain::task::{MarkReadTask, OutboundAction, OutboundTask, VERSION};
use domain::tenant::Scope;
use http::StatusCode;
use runtime::api::{ApiReply, ApiRequest, Params, Problem, Resource, Route, cursor, schema};
use runtime::digest::sha256;
use runtime::{AwsEnv, Env, Error, FeatureRepository, Kit};
use schemars::JsonSchema;
use serde::Serialize;

use super::messages::cannot_send;
use crate::Repository;
use crate::outbound::Outbound;
use crate::ports::MessageReader;

/// API resource and its dependencies.
#[derive(Debug)]
pub struct Conversations<E: Env> {
    /// DynamoDB table.
    pub store: Repository,
    /// Outbound queues.
    pub outbound: Outbound<E::Queue>,
}

/// Operations of the resource.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// List a tenant's conversations.
    List,
    /// Get a conversation.
    Get,
    /// List the messages of a conversation.
    ListMessages,
    /// Mark the last inbound message as read.
    MarkRead,
}

/// A page of conversations.
#[derive(Debug, Serialize, JsonSchema)]
struct ConversationPage {
    /// Conversations, most recently active first; between pages the order is exact to the hour.
    conversations: Vec<Conversation>,
    /// Cursor of the next page; `null` on the last page.
    next: Option<String>,
}

/// A page of messages.
#[derive(Debug, Serialize, JsonSchema)]
struct MessagePage {
    /// Messages, newest first.
    messages: Vec<Message>,
    /// Cursor of the next page; `null` on the last page.
    next: Option<String>,
}

/// Response to an accepted request.
#[derive(Debug, Serialize, JsonSchema)]
struct Queued {
    /// Always `queued`.
    status: &'static str,
}

const PAGE: &[(&str, &str, &str)] = &[
    ("limit", "query", "Number of items per page, 1 to 100. Default: 50."),
    ("cursor", "query", "The `next` value of the previous page."),
    ("tenant", "query", "Tenant to act for. Required with the platform key."),
];
const TENANT: &[(&str, &str, &str)] =
    &[("tenant", "query", "Tenant to act for. Required with the platform key.")];

/// Routes of the resource.
pub const ROUTES: &[Route<Operation>] = &[
    Route {
        operation: Operation::List,
        method: "GET",
        path: "/conversations",
        summary: "List conversations, most recently active first",
        scope: Some(Scope::Read),
        parameters: PAGE,
        request: None,
        answer: (200, Some(schema::<ConversationPage>)),
    },
    Route {
        operation: Operation::Get,
        method: "GET",
        path: "/conversations/{id}",
        summary: "Get a conversation",
        scope: Some(Scope::Read),
        parameters: TENANT,
        request: None,
        answer: (200, Some(schema::<Conversation>)),
    },
    Route {
        operation: Operation::ListMessages,
        method: "GET",
        path: "/conversations/{id}/messages",
        summary: "List a conversation's messages, newest first",
        scope: Some(Scope::Read),
        parameters: PAGE,
        request: None,
        answer: (200, Some(schema::<MessagePage>)),
    },
    Route {
        operation: Operation::MarkRead,
        method: "POST",
        path: "/conversations/{id}/read",
        summary: "Mark the last inbound message as read",
        scope: Some(Scope::Send),
        parameters: TENANT,
        request: None,
        answer: (202, Some(schema::<Queued>)),
    },
];

impl<E: Env> Resource for Conversations<E> {
    type Operation = Operation;
    const ROUTES: &'static [Route<Operation>] = ROUTES;

    async fn call(
        &self,
        operation: Operation,
        request: &ApiRequest,
        params: &Params<'_>,
    ) -> Result<ApiReply, Problem> {
        match operation {
            Operation::List => {
                let tenant = request.tenant(Scope::Read, None)?;
                let (limit, from) = request.page()?;
                let page = self.store.conversations(&tenant, limit, from.as_deref()).await?;
                let page = ConversationPage { conversations: page.items, next: cursor(page.next) };
                ApiReply::json(StatusCode::OK, &page)
            }
            Operation::Get => {
                ApiReply::json(StatusCode::OK, &self.find(Scope::Read, request, params).await?)
            }
            Operation::ListMessages => {
                let conversation = self.find(Scope::Read, request, params).await?;
                let (limit, from) = request.page()?;
                let (tenant, id) = (&conversation.tenant, conversation.id);
                let page = self.store.messages(tenant, id, limit, from.as_deref()).await?;
                let page = MessagePage { messages: page.items, next: cursor(page.next) };
                ApiReply::json(StatusCode::OK, &page)
            }
            Operation::MarkRead => {
                let conversation = self.find(Scope::Send, request, params).await?;
                self.mark_read(&conversation).await
            }
        }
    }
}

impl<E: Env> Conversations<E> {
    async fn find(
        &self,
        scope: Scope,
        request: &ApiRequest,
        params: &Params<'_>,
    ) -> Result<Conversation, Problem> {
        let tenant = request.tenant(scope, None)?;
        let conversation = self.store.conversation(&tenant, params.get("id")?).await?;
        conversation.ok_or_else(Problem::not_found)
    }

    async fn mark_read(&self, conversation: &Conversation) -> Result<ApiReply, Problem> {
        let provider_message_id = conversation.last_inbound_message.clone();
        // On Telegram, a button press can be acknowledged; a message cannot be marked as read.
        let is_button = provider_message_id.as_deref().is_some_and(|id| id.starts_with("cb:"));
        if conversation.channel == Channel::Telegram && !is_button {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            let title = "The channel does not support this";
            let detail = "Telegram bots cannot mark messages as read".to_owned();
            return Err(Problem::new(status, "unsupported_by_channel", title, detail));
        }
        let Some(provider_message_id) = provider_message_id else {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            let detail = "the conversation has no inbound message yet".to_owned();
            return Err(Problem::new(status, "nothing_to_read", "Nothing to read", detail));
        };
        let deduplication_id = sha256(&format!("read:{}:{provider_message_id}", conversation.id));
        let mark = OutboundAction::MarkRead(MarkReadTask {
            tenant: conversation.tenant.clone(),
            integration: conversation.integration,
            provider_message_id,
        });
        let job = OutboundTask { v: VERSION, action: mark };
        let body = serde_json::to_string(&job).map_err(|_| Problem::internal())?;
        let group = conversation.id.to_string();
        let record = Record { body, group, deduplication_id, ..Record::default() };
        let queue = self.outbound.of(conversation.provider);
        queue.ok_or_else(cannot_send)?.publish(vec![record]).await?;
        ApiReply::json(StatusCode::ACCEPTED, &Queued { status: "queued" })
    }
}

/// Builds the resource from the kit.
///
/// # Errors
/// If an environment variable is missing.
pub fn resource<E: AwsEnv>(kit: &Kit<E>) -> Result<Conversations<E>, Error> {
    // Read receipts are small and never need the bucket.
    Ok(Conversations { store: kit.repository()?, outbound: Outbound::new(kit, None)? })
}

/// Serves the resource until Lambda stops the process.
///
/// # Errors
/// If an environment variable is missing.
pub fn run() -> Result<(), Error> {
    accounts::rate_limit::serve(resource, async |resource| resource.store.prewarm().await)
}
