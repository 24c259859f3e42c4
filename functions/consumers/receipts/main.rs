//! Advances the status of outbound messages by receipts, and notifies the tenant.

pub(crate) fn main() -> Result<(), runtime::Error> {
    messaging::handlers::receipts::run()
}
