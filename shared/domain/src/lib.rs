//! Domain model: types, rules and ports.
//!
//! Nothing here does I/O, reads a clock or depends on AWS. Every change to a message can be tested
//! with the types of this crate alone.

pub mod address;
pub mod circuit;
pub mod content;
pub mod conversation;
pub mod event;
pub mod failpoint;
pub mod fault;
pub mod id;
pub mod integration;
pub mod job;
pub mod message;
pub mod notification;
pub mod ports;
pub mod provider;
pub mod retention;
pub mod sender;
pub mod task;
pub mod tenant;
pub mod trace;
pub mod webhook;

pub use content::Content;
pub use fault::{Classify, Fault};
pub use id::{
    AuditId, ContactId, ConversationId, EventId, IntegrationId, JobId, KeyId, MessageId,
    NotificationId, ReplayId, TenantId,
};
pub use integration::{Credentials, Integration};
pub use message::{Message, Status};
pub use provider::Provider;
pub use retention::Retention;
pub use trace::TraceContext;
