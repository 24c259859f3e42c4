//! Receives status callbacks of Twilio for sent messages: verify, parse, queue, respond.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::twilio::SMS_STATUS)
}
