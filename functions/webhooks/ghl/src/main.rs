//! Receives webhooks of GoHighLevel: verify, parse, queue, respond.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::ghl::WEBHOOK)
}
