//! Receives webhooks of SendGrid: verify, parse, queue, respond.

pub(crate) fn main() -> Result<(), runtime::Error> {
    accounts::webhook::run(&providers::sendgrid::WEBHOOK)
}
