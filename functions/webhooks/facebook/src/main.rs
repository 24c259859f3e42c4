//! Receives webhooks of Facebook and Instagram: verify, parse, queue, respond.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::facebook::WEBHOOK)
}
