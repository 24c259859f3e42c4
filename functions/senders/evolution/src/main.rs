//! Sends through the Evolution API: claim, send, settle.

fn main() -> Result<(), runtime::Error> {
    runtime::sender::run(&providers::evolution::SENDER)
}
