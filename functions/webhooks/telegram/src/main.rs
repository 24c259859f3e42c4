//! Receives webhooks of Telegram: verify, parse, queue, respond.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::telegram::WEBHOOK)
}
