//! Receives webhooks of Infobip: verify, parse, queue, respond.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::infobip::WEBHOOK)
}
