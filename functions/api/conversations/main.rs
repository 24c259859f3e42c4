//! API of conversations.

pub(crate) fn main() -> Result<(), runtime::Error> {
    messaging::api::conversations::run()
}
