//! Receives Amazon SES notifications through SNS: verify, parse, queue, respond.

pub(crate) fn main() -> Result<(), runtime::Error> {
    accounts::webhook::run(&providers::ses::WEBHOOK)
}
