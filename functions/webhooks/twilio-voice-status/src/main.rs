//! Receives status callbacks of Twilio for calls: verify, parse, queue, respond.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::twilio::VOICE_STATUS)
}
