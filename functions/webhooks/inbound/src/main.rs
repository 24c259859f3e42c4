//! API for inbound messages that a tenant's own programs received.

fn main() -> Result<(), runtime::Error> {
    runtime::api::inbound::run()
}
