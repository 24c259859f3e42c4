//! Receives webhooks of Resend: verify, parse, queue, respond.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::resend::WEBHOOK)
}
