//! Check whether URLs that tenants set are on the public internet.

use std::net::IpAddr;

use domain::automation::is_public;
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
