//! Sends through the API that an integration declares: claim, send, settle.

fn main() -> Result<(), runtime::Error> {
    runtime::sender::run(&providers::custom::SENDER)
}
