//! API for inbound messages that a tenant's own programs received.

pub(crate) fn main() -> Result<(), runtime::Error> {
    work::api::inbound::run()
}
