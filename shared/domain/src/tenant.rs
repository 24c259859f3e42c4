//! Tenants and their API keys.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{KeyId, TenantId};

/// A tenant: an organization that uses the hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tenant {
    /// The tenant id.
    pub id: TenantId,
    /// The display name.
    pub name: String,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A permission of an API key.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All operations of the tenant.
    Admin,
    /// Send messages.
    Send,
    /// Read messages and conversations.
    Read,
    /// Pull and complete jobs.
    Worker,
    /// Ingest messages that customers sent through other software.
    Ingest,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 5] = [Self::Admin, Self::Send, Self::Read, Self::Worker, Self::Ingest];

    /// Returns the name used in the API.
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

    /// Returns the scope with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

/// An API key as it is stored, without the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiKey {
    /// The key id, which is part of the key.
    pub id: KeyId,
    /// The tenant that owns the key.
    pub tenant: TenantId,
    /// The key's scopes.
    pub scopes: Vec<Scope>,
    /// The last four characters of the key.
    pub hint: String,
    /// When it was created.
    pub created_at: Timestamp,
}

/// The authenticated caller of an API request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The tenant that owns the key; the operator's key may act for any tenant.
    pub tenant: TenantId,
    /// The key's scopes.
    pub scopes: Vec<Scope>,
}

impl Principal {
    /// Whether the key has `scope`; the scope `admin` includes every other.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }
}
