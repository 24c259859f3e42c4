//! API of events: list, get and replay.

fn main() -> Result<(), runtime::Error> {
    runtime::api::events::run()
}
