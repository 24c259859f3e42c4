//! Receives status callbacks of Twilio for calls: verify, parse, queue, respond.

pub(crate) fn main() -> Result<(), runtime::Error> {
    accounts::webhook::run(&providers::twilio::VOICE_STATUS)
}
