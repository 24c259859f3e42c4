//! Sends through Infobip: claim, send, settle.

pub(crate) fn main() -> Result<(), runtime::Error> {
    messaging::handlers::sender::run(&providers::infobip::SENDER)
}
