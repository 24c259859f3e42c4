//! Sends through Twilio, by SMS, on WhatsApp and by telephone: claim, send, settle.

fn main() -> Result<(), runtime::Error> {
    runtime::sender::run(&providers::twilio::SENDER)
}
