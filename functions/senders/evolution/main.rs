//! Sends through the Evolution API: claim, send, settle.

pub(crate) fn main() -> Result<(), runtime::Error> {
    messaging::handlers::sender::run(&providers::evolution::SENDER)
}
