//! Receives webhooks of the scheme that an integration declares: verify, parse, queue, respond.

pub(crate) fn main() -> Result<(), runtime::Error> {
    accounts::webhook::run(&providers::custom::WEBHOOK)
}
