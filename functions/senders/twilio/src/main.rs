//! Sends SMS, WhatsApp messages and calls through Twilio: claim, send, settle.

fn main() -> Result<(), runtime::Error> {
    runtime::sender::run(&providers::twilio::SENDER)
}
