//! Receives webhooks of GoHighLevel: verify, parse, queue, respond.

pub(crate) fn main() -> Result<(), runtime::Error> {
    accounts::webhook::run(&providers::ghl::WEBHOOK)
}
