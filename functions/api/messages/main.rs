//! API of messages: send, and get with history.

pub(crate) fn main() -> Result<(), runtime::Error> {
    messaging::api::messages::run()
}
