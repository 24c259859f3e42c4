//! Moves our messages up by the providers' receipts, and tells the automation.

fn main() -> Result<(), runtime::Error> {
    runtime::receipts::run()
}
