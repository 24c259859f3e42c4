//! Sends through the API that an integration declares: claim, send, settle.

pub(crate) fn main() -> Result<(), runtime::Error> {
    messaging::handlers::sender::run(&providers::custom::SENDER)
}
