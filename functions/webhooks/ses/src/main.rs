//! Receives Amazon SES's webhooks, which SNS brings: verify, parse, queue, answer.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::ses::WEBHOOK)
}
