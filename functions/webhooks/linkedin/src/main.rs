//! Receives webhooks of LinkedIn: verify, parse, queue, respond.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::linkedin::WEBHOOK)
}
