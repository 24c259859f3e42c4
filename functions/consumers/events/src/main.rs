//! Records events that are neither messages nor receipts.

fn main() -> Result<(), runtime::Error> {
    runtime::events::run()
}
