//! Receives webhooks of Resend: verify, parse, queue, respond.

pub(crate) fn main() -> Result<(), runtime::Error> {
    accounts::webhook::run(&providers::resend::WEBHOOK)
}
