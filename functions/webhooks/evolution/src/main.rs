//! Receives webhooks of Evolution: verify, parse, queue, respond.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::evolution::WEBHOOK)
}
