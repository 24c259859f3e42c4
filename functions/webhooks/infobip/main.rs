//! Receives webhooks of Infobip: verify, parse, queue, respond.

pub(crate) fn main() -> Result<(), runtime::Error> {
    accounts::webhook::run(&providers::infobip::WEBHOOK)
}
