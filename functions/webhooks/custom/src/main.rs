//! Receives webhooks of the scheme that an integration declares: verify, parse, queue, respond.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::custom::WEBHOOK)
}
