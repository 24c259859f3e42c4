//! Receives webhooks of X: verify, parse, queue, respond.

pub(crate) fn main() -> Result<(), runtime::Error> {
    accounts::webhook::run(&providers::x::WEBHOOK)
}
