//! Receives webhooks of Telegram: verify, parse, queue, respond.

pub(crate) fn main() -> Result<(), runtime::Error> {
    accounts::webhook::run(&providers::telegram::WEBHOOK)
}
