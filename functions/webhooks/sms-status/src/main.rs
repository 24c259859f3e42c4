//! Receives what Twilio says of the messages it sent: verify, parse, queue, answer.

fn main() -> Result<(), runtime::Error> {
    runtime::webhook::run(&providers::twilio::SMS_STATUS)
}
