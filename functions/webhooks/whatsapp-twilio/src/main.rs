//! Receives the WhatsApp messages that Twilio brings: verify, parse, queue, answer.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::twilio::WHATSAPP)
}
