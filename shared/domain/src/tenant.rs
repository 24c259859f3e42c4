//! A customer of the hub, and their keys.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{KeyId, TenantId};

/// A customer of the hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// What people call it.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What a key may be used for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Everything of the tenant's.
    Admin,
    /// Send messages.
    Send,
    /// Read messages and conversations.
    Read,
    /// Pull and finish jobs.
    Worker,
    /// Bring in messages that people wrote, in their name.
    Ingest,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 5] = [Self::Admin, Self::Send, Self::Read, Self::Worker, Self::Ingest];

    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Send => "send",
            Self::Read => "read",
            Self::Worker => "worker",
            Self::Ingest => "ingest",
        }
    }

    /// The scope of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

/// A key as it is kept: never the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiKey {
    /// Its id, which is part of the key.
    pub id: KeyId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// The last four characters.
    pub hint: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Who calls the API: what the authorizer proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whose key it was; the platform's may act for any tenant.
    pub tenant: TenantId,
    /// What the key may be used for.
    pub scopes: Vec<Scope>,
}

impl Caller {
    /// Whether the key may be used for `scope`; an admin's may be used for everything.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }
}
