//! Advances the status of outbound messages by receipts, and notifies the tenant.

fn main() -> Result<(), runtime::Error> {
    runtime::receipts::run()
}
