//! Receives webhooks of Facebook and Instagram: verify, parse, queue, respond.

pub(crate) fn main() -> Result<(), runtime::Error> {
    accounts::webhook::run(&providers::facebook::WEBHOOK)
}
