//! Receives Amazon SES notifications through SNS: verify, parse, queue, respond.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::ses::WEBHOOK)
}
