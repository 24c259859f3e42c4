//! Receives webhooks of Mailgun: verify, parse, queue, respond.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::mailgun::WEBHOOK)
}
