//! Receives GoHighLevel's webhooks: verify, parse, queue, answer.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::ghl::WEBHOOK)
}
