//! Receives webhooks of SendGrid: verify, parse, queue, respond.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::sendgrid::WEBHOOK)
}
