//! Restrictions of an API key that hold for every request: its expiry and its allowed addresses.
//!
//! API Gateway caches the authorizer's result for a key, whoever sends the next request, so the
//! authorizer passes the restrictions on and the API checks them.

use domain::tenant::IpBlock;
use jiff::Timestamp;

use super::Problem;
use crate::gateway::Origin;

/// Checks the restrictions of the request's key. A restriction that cannot be read or checked is
/// not met.
///
/// # Errors
/// 401 `key_expired`, or 403 `address_not_allowed`.
pub(crate) fn check(origin: &Origin) -> Result<(), Problem> {
    if let Some(expires_at) = &origin.expires_at {
        let expires_at = expires_at.parse::<Timestamp>().ok();
        let is_valid = origin.received_at.zip(expires_at).is_some_and(|(now, end)| now < end);
        if !is_valid {
            return Err(Problem::key_expired());
        }
    }
    if let Some(allowed) = &origin.allowed_ips {
        let blocks = || allowed.split(',').filter_map(|block| block.parse::<IpBlock>().ok());
        let is_allowed =
            origin.source_ip.is_some_and(|ip| blocks().any(|block| block.contains(ip)));
        if !is_allowed {
            return Err(Problem::address_not_allowed());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(origin: &Origin) -> Option<String> {
        check(origin).err().map(|problem| format!("{} {}", problem.status.as_u16(), problem.code))
    }

    fn at(second: i64) -> Option<Timestamp> {
        Timestamp::from_second(second).ok()
    }

    #[test]
    fn a_key_without_restrictions_is_accepted_from_everywhere() {
        assert_eq!(code(&Origin::default()), None);
    }

    #[test]
    fn a_key_is_refused_from_the_moment_that_it_expires() {
        let origin = |expires_at: &str, received_at| Origin {
            expires_at: Some(expires_at.to_owned()),
            received_at,
            ..Origin::default()
        };
        let expired = Some("401 key_expired".to_owned());
        assert_eq!(code(&origin("1970-01-01T00:01:00Z", at(59))), None);
        assert_eq!(code(&origin("1970-01-01T00:01:00Z", at(60))), expired);
        assert_eq!(code(&origin("1970-01-01T00:01:00Z", None)), expired, "the time is unknown");
        assert_eq!(code(&origin("soon", at(0))), expired);
    }

    #[test]
    fn a_key_is_refused_from_an_address_that_is_not_allowed() {
        let origin = |allowed: &str, ip: Option<&str>| Origin {
            allowed_ips: Some(allowed.to_owned()),
            source_ip: ip.map(|ip| ip.parse().unwrap()),
            ..Origin::default()
        };
        let refused = Some("403 address_not_allowed".to_owned());
        let allowed = "198.51.100.0/24,2001:db8::1";
        assert_eq!(code(&origin(allowed, Some("198.51.100.9"))), None);
        assert_eq!(code(&origin(allowed, Some("2001:db8::1"))), None);
        assert_eq!(code(&origin(allowed, Some("203.0.113.9"))), refused);
        assert_eq!(code(&origin(allowed, None)), refused, "the address is unknown");
        assert_eq!(code(&origin("nonsense", Some("198.51.100.9"))), refused);
    }
}
