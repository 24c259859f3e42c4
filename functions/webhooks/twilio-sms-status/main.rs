//! Receives status callbacks of Twilio for sent messages: verify, parse, queue, respond.

pub(crate) fn main() -> Result<(), runtime::Error> {
    accounts::webhook::run(&providers::twilio::SMS_STATUS)
}
