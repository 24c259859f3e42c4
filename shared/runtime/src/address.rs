//! Check whether URLs that tenants set are on the public internet.

use std::net::IpAddr;

use domain::ports::Resolver;
use url::{Host, Url};

/// Network in which a URL's host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostNetwork {
    /// Public internet.
    Public,
    /// Unknown: the host name does not resolve at the moment.
    Unresolved,
    /// Private network.
    Private,
}

/// Top-level domains that exist only in private networks.
///
/// <https://www.iana.org/assignments/special-use-domain-names/>; `internal` is reserved by
/// <https://www.icann.org/en/board-activities-and-meetings/materials/approved-resolutions-special-meeting-of-the-icann-board-29-07-2024-en>.
const PRIVATE_NAMES: [&str; 4] = ["localhost", "local", "internal", "home.arpa"];

/// Returns the network of the host of `url`. A host name is resolved; an IP address is checked in
/// every notation.
pub async fn host_network<D: Resolver>(resolver: &D, url: &Url) -> HostNetwork {
    match url.host() {
        Some(Host::Ipv4(address)) => of_addresses(&[address.into()]),
        Some(Host::Ipv6(address)) => of_addresses(&[address.into()]),
        Some(Host::Domain(name)) if is_private_name(name) => HostNetwork::Private,
        Some(Host::Domain(name)) => match resolver.resolve(name).await {
            Some(addresses) => of_addresses(&addresses),
            None => HostNetwork::Unresolved,
        },
        None => HostNetwork::Unresolved,
    }
}

/// Returns the network of a host. One public address is enough, because the client connects only
/// to public addresses.
fn of_addresses(addresses: &[IpAddr]) -> HostNetwork {
    match addresses {
        [] => HostNetwork::Unresolved,
        found if found.iter().copied().any(is_public) => HostNetwork::Public,
        _ => HostNetwork::Private,
    }
}

/// Returns whether a name exists only in private networks. A name with one label resolves only
/// through the search list of a private network.
fn is_private_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let is_under = |suffix: &str| {
        name.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    !name.contains('.') || PRIVATE_NAMES.into_iter().any(is_under)
}

/// Whether the hub may call this address for a tenant that did not allow private networks: only
/// addresses of the public internet.
///
/// Refused are loopback, private, link-local (which includes the cloud's metadata service),
/// carrier-grade NAT, documentation, multicast and reserved ranges:
/// <https://www.iana.org/assignments/iana-ipv4-special-registry/>.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 192 && b == 88 && c == 99)
                || (a == 198 && (b == 18 || b == 19)))
        }
        IpAddr::V6(v6) => {
            // An IPv4-mapped address is checked as IPv4.
            if let Some(v4) = v6.to_ipv4_mapped() {
                return is_public(IpAddr::V4(v4));
            }
            // Global unicast is 2000::/3; of it, Teredo, ORCHID, documentation and 6to4
            // (which carries an IPv4 address) are not.
            let [a, b, ..] = v6.segments();
            (0x2000..0x4000).contains(&a)
                && !(a == 0x2001 && (b < 0x200 || b == 0xdb8))
                && a != 0x2002
                && a != 0x3fff
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_not_public() {
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "255.255.255.255",
            "::1",
            "fe80::1",
            "fd00:ec2::254",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::",
            "2002:a00:1::",
            "64:ff9b::a00:1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["1.1.1.1", "93.184.216.34", "2606:4700::1111"] {
            assert!(is_public(outside.parse().unwrap()), "{outside}");
        }
    }
}
