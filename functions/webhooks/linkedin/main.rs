//! Receives webhooks of LinkedIn: verify, parse, queue, respond.

pub(crate) fn main() -> Result<(), runtime::Error> {
    accounts::webhook::run(&providers::linkedin::WEBHOOK)
}
