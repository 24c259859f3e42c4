//! Receives webhooks of Stripe: verify, parse, queue, respond.

pub(crate) fn main() -> Result<(), runtime::Error> {
    accounts::webhook::run(&providers::stripe::WEBHOOK)
}
