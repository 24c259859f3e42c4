//! Receives webhooks of Evolution: verify, parse, queue, respond.

pub(crate) fn main() -> Result<(), runtime::Error> {
    accounts::webhook::run(&providers::evolution::WEBHOOK)
}
