//! Records events that are neither messages nor receipts.

pub(crate) fn main() -> Result<(), runtime::Error> {
    events::handlers::record::run()
}
