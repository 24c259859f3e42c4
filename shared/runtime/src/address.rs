//! Addresses that tenants give: whether they lead to the public internet.

use std::net::IpAddr;

use domain::automation::is_public;
use domain::ports::Resolver;
use url::{Host, Url};

/// Where an address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// To the public internet.
    Public,
    /// Nowhere now: its host name cannot be resolved.
    Unresolved,
    /// Into a private network.
    Private,
}

/// Top-level names that only a private network knows.
///
/// <https://www.iana.org/assignments/special-use-domain-names/>; `internal` is reserved by
/// <https://www.icann.org/en/board-activities-and-meetings/materials/approved-resolutions-special-meeting-of-the-icann-board-29-07-2024-en>.
const PRIVATE_NAMES: [&str; 4] = ["localhost", "local", "internal", "home.arpa"];

/// Where `url` leads. A name is resolved; a number is judged as it is, in whatever form it is
/// written.
pub async fn reach<D: Resolver>(resolver: &D, url: &Url) -> Reach {
    match url.host() {
        Some(Host::Ipv4(address)) => of_addresses(&[address.into()]),
        Some(Host::Ipv6(address)) => of_addresses(&[address.into()]),
        Some(Host::Domain(name)) if is_private_name(name) => Reach::Private,
        Some(Host::Domain(name)) => match resolver.resolve(name).await {
            Some(addresses) => of_addresses(&addresses),
            None => Reach::Unresolved,
        },
        None => Reach::Unresolved,
    }
}

/// One public address is enough: the connection is made to public addresses only.
fn of_addresses(addresses: &[IpAddr]) -> Reach {
    match addresses {
        [] => Reach::Unresolved,
        found if found.iter().copied().any(is_public) => Reach::Public,
        _ => Reach::Private,
    }
}

/// Whether no public name is like this one. A name of one label is only found by the search
/// list of a private network.
fn is_private_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let under = |suffix: &str| {
        name.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    !name.contains('.') || PRIVATE_NAMES.into_iter().any(under)
}
