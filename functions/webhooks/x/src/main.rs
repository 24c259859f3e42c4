//! Receives webhooks of X: verify, parse, queue, respond.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::x::WEBHOOK)
}
