//! API of events: list, get and replay.

pub(crate) fn main() -> Result<(), runtime::Error> {
    events::api::run()
}
