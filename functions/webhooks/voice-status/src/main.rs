//! Receives what Twilio says of calls: verify, parse, queue, answer.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::twilio::VOICE_STATUS)
}
