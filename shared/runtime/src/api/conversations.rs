//! Conversations, for their tenant.

use domain::conversation::Conversation;
use domain::job::{MarkReadTask, OutboundJob, OutboundTask, VERSION};
use domain::message::Message;
use domain::ports::{Library, Publisher, Record};
use domain::provider::Channel;
use domain::tenant::Scope;
use http::StatusCode;
use queue::SqsQueue;
use schemars::JsonSchema;
use serde::Serialize;
use store::DynamoStore;

use super::authorizer::hash;
use super::messages::cannot_send;
use super::{ApiReply, ApiRequest, Params, Problem, Resource, Route, cursor, schema};
use crate::outbound::{Outbound, OutboundQueues};
use crate::{Error, Kit};

/// What the resource needs.
#[derive(Debug)]
pub struct Conversations<S, Q> {
    /// The table.
    pub store: S,
    /// The senders' queues.
    pub outbound: Q,
}

/// Its operations.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    /// List a tenant's.
    List,
    /// Show one.
    Show,
    /// List its messages.
    Messages,
    /// Mark what the person wrote as read.
    Read,
}

/// A page of conversations.
#[derive(Debug, Serialize, JsonSchema)]
struct ConversationPage {
    /// Latest activity first, exact to the hour between pages.
    conversations: Vec<Conversation>,
    /// Where the next page begins.
    next: Option<String>,
}

/// A page of messages.
#[derive(Debug, Serialize, JsonSchema)]
struct MessagePage {
    /// Newest first.
    messages: Vec<Message>,
    /// Where the next page begins.
    next: Option<String>,
}

/// What is done next.
#[derive(Debug, Serialize, JsonSchema)]
struct Queued {
    /// `queued`.
    status: &'static str,
}

const PAGE: &[(&str, &str, &str)] = &[
    ("limit", "query", "Items on a page, 1 to 100; 50 if absent."),
    ("cursor", "query", "The `next` of the page before."),
    ("tenant", "query", "Which tenant's, for the platform's key."),
];
const TENANT: &[(&str, &str, &str)] =
    &[("tenant", "query", "Which tenant's, for the platform's key.")];

/// The routes of conversations.
pub(crate) const ROUTES: &[Route<Operation>] = &[
    Route {
        operation: Operation::List,
        method: "GET",
        path: "/conversations",
        summary: "List conversations, latest activity first",
        scope: Some(Scope::Read),
        parameters: PAGE,
        request: None,
        answer: (200, Some(schema::<ConversationPage>)),
    },
    Route {
        operation: Operation::Show,
        method: "GET",
        path: "/conversations/{id}",
        summary: "Show a conversation",
        scope: Some(Scope::Read),
        parameters: TENANT,
        request: None,
        answer: (200, Some(schema::<Conversation>)),
    },
    Route {
        operation: Operation::Messages,
        method: "GET",
        path: "/conversations/{id}/messages",
        summary: "List a conversation's messages, newest first",
        scope: Some(Scope::Read),
        parameters: PAGE,
        request: None,
        answer: (200, Some(schema::<MessagePage>)),
    },
    Route {
        operation: Operation::Read,
        method: "POST",
        path: "/conversations/{id}/read",
        summary: "Show the person that their last message was read",
        scope: Some(Scope::Send),
        parameters: TENANT,
        request: None,
        answer: (202, Some(schema::<Queued>)),
    },
];

impl<S: Library, Q: OutboundQueues> Resource for Conversations<S, Q> {
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
            Operation::Show => {
                ApiReply::json(StatusCode::OK, &self.own(Scope::Read, request, params).await?)
            }
            Operation::Messages => {
                let talk = self.own(Scope::Read, request, params).await?;
                let (limit, from) = request.page()?;
                let page =
                    self.store.messages(&talk.tenant, talk.id, limit, from.as_deref()).await?;
                let page = MessagePage { messages: page.items, next: cursor(page.next) };
                ApiReply::json(StatusCode::OK, &page)
            }
            Operation::Read => {
                let talk = self.own(Scope::Send, request, params).await?;
                self.mark_read(&talk).await
            }
        }
    }
}

impl<S: Library, Q: OutboundQueues> Conversations<S, Q> {
    async fn own(
        &self,
        scope: Scope,
        request: &ApiRequest,
        params: &Params<'_>,
    ) -> Result<Conversation, Problem> {
        let tenant = request.tenant(scope, None)?;
        let talk = self.store.conversation(&tenant, params.get("id")?).await?;
        talk.ok_or_else(Problem::not_found)
    }

    async fn mark_read(&self, talk: &Conversation) -> Result<ApiReply, Problem> {
        let theirs = talk.last_inbound_message.clone();
        // A press on a Telegram button can be answered, a message cannot be marked.
        let pressed = theirs.as_deref().is_some_and(|theirs| theirs.starts_with("cb:"));
        if talk.channel == Channel::Telegram && !pressed {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            let title = "The channel has no such thing";
            let detail = "Telegram bots cannot mark messages as read".to_owned();
            return Err(Problem::new(status, "unsupported_by_channel", title, detail));
        }
        let Some(theirs) = theirs else {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            let detail = "the person has not written yet".to_owned();
            return Err(Problem::new(status, "nothing_to_read", "Nothing to read", detail));
        };
        let deduplication_id = hash(&format!("read:{}:{theirs}", talk.id));
        let mark = OutboundTask::MarkRead(MarkReadTask {
            tenant: talk.tenant.clone(),
            integration: talk.integration,
            provider_message_id: theirs,
        });
        let job = OutboundJob { v: VERSION, task: mark };
        let body = serde_json::to_string(&job).map_err(|_| Problem::internal())?;
        let group = talk.id.to_string();
        let record = Record { body, group, deduplication_id, ..Record::default() };
        let queue = self.outbound.of(talk.provider);
        queue.ok_or_else(cannot_send)?.publish(vec![record]).await?;
        ApiReply::json(StatusCode::ACCEPTED, &Queued { status: "queued" })
    }
}

/// The resource.
///
/// # Errors
/// If the environment is incomplete.
pub fn resource<N, C, R>(
    kit: &Kit<N, C, R>,
) -> Result<Conversations<DynamoStore, Outbound<SqsQueue>>, Error> {
    // Marks of reading are small: none needs the bucket.
    Ok(Conversations { store: kit.store()?, outbound: Outbound::new(kit, None)? })
}

/// Runs the resource until Lambda ends it.
///
/// # Errors
/// If the environment is incomplete.
pub fn run() -> Result<(), Error> {
    crate::start(async |kit| {
        let resource = resource(&kit)?;
        resource.store.prewarm().await;
        super::serve(&kit, resource).await
    })
}
