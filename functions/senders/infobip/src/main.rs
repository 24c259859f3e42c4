//! Sends through Infobip: claim, send, settle.

fn main() -> Result<(), runtime::Error> {
    runtime::sender::run(&providers::infobip::SENDER)
}
