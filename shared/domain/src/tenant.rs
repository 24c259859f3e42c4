//! Tenants and their API keys.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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
    /// When it expires: from then on, requests with it are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The IP addresses and CIDR blocks that it may be used from. Empty: from every address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_ips: Vec<IpBlock>,
    /// When it was last used, to the hour. Absent if it was not used since the hub records this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
}

impl ApiKey {
    /// Whether the key has expired at `now`.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }
}

/// An IP address or a CIDR block of addresses, such as `198.51.100.7` or `2001:db8::/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpBlock(IpNet);

impl IpBlock {
    /// Whether the block has `address`. An IPv4 address in IPv6 notation, such as
    /// `::ffff:198.51.100.7`, is the IPv4 address.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

/// The text is neither an IP address nor a CIDR block.
#[derive(Debug, thiserror::Error)]
#[error("must be an IPv4 or IPv6 address or a CIDR block, such as 198.51.100.7 or 2001:db8::/32")]
pub struct InvalidIpBlock;

impl FromStr for IpBlock {
    type Err = InvalidIpBlock;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.to_canonical().into()));
        }
        let block: IpNet = text.parse().map_err(|_| InvalidIpBlock)?;
        // Addresses are compared as IPv4 where they are, so blocks must be, too.
        let mapped = match (block.addr().to_canonical(), block.prefix_len().checked_sub(96)) {
            (IpAddr::V4(address), Some(length)) if block.addr().is_ipv6() => {
                Ipv4Net::new(address, length).ok()
            }
            _ => None,
        };
        Ok(Self(mapped.map_or(block, IpNet::V4).trunc()))
    }
}

impl fmt::Display for IpBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

impl Serialize for IpBlock {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for IpBlock {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for IpBlock {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "IpBlock".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "An IPv4 or IPv6 address, or a CIDR block of addresses.",
        })
    }
}

/// The authenticated caller of an API request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The tenant that owns the key; the operator's key may act for any tenant.
    pub tenant: TenantId,
    /// The key's scopes.
    pub scopes: Vec<Scope>,
    /// The key's id; `None` for the operator's key, which is not in the table.
    pub key: Option<KeyId>,
}

impl Principal {
    /// Whether the key has `scope`; the scope `admin` includes every other.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(text: &str) -> IpBlock {
        text.parse().unwrap()
    }

    #[test]
    fn a_block_has_its_addresses_and_no_others() {
        for (text, inside, outside) in [
            ("198.51.100.7", "198.51.100.7", "198.51.100.8"),
            ("198.51.100.7", "::ffff:198.51.100.7", "::198.51.100.7"),
            ("198.51.100.0/24", "198.51.100.255", "198.51.101.0"),
            ("198.51.100.9/24", "198.51.100.1", "198.51.99.1"),
            ("0.0.0.0/0", "203.0.113.1", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("2001:db8::1", "2001:DB8:0::1", "2001:db8::2"),
            ("::ffff:198.51.100.0/120", "198.51.100.3", "198.51.101.3"),
        ] {
            assert!(block(text).contains(inside.parse().unwrap()), "{inside} is in {text}");
            assert!(!block(text).contains(outside.parse().unwrap()), "{outside} is in {text}");
        }
    }

    #[test]
    fn a_block_is_written_as_it_is_read() {
        for (text, written) in [
            ("198.51.100.7", "198.51.100.7"),
            ("198.51.100.7/32", "198.51.100.7"),
            ("198.51.100.9/24", "198.51.100.0/24"),
            ("2001:DB8::/32", "2001:db8::/32"),
        ] {
            assert_eq!(block(text).to_string(), written);
            assert_eq!(block(written), block(text));
        }
        for wrong in ["", "198.51.100", "198.51.100.7/33", "198.51.100.7/-1", "host", "1.2.3.4:80"]
        {
            assert!(wrong.parse::<IpBlock>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_key_that_was_stored_before_keys_could_expire_is_still_read() {
        let stored = r#"{"id":"key_00000000000000000000000000","tenant":"acme","scopes":["send"],
            "hint":"...abcd","created_at":"2026-01-01T00:00:00Z"}"#;
        let key: ApiKey = serde_json::from_str(stored).unwrap();
        assert_eq!((key.expires_at, key.last_used_at), (None, None));
        assert!(key.allowed_ips.is_empty() && !key.is_expired(Timestamp::MAX));
    }

    #[test]
    fn a_key_is_expired_from_the_moment_that_it_names() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let key = ApiKey {
            id: KeyId::derived(&["key"]),
            tenant: TenantId::platform(),
            scopes: vec![Scope::Read],
            hint: String::new(),
            created_at: at(0),
            expires_at: Some(at(10)),
            allowed_ips: Vec::new(),
            last_used_at: None,
        };
        assert!(!key.is_expired(at(9)));
        assert!(key.is_expired(at(10)) && key.is_expired(at(11)));
    }
}
