//! The API for events.

fn main() -> Result<(), runtime::Error> {
    runtime::api::events::run()
}
