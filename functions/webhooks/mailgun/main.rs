//! Receives webhooks of Mailgun: verify, parse, queue, respond.

pub(crate) fn main() -> Result<(), runtime::Error> {
    accounts::webhook::run(&providers::mailgun::WEBHOOK)
}
