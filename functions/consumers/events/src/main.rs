//! Writes down everything that happened and that the hub does not act on itself.

fn main() -> Result<(), runtime::Error> {
    runtime::events::run()
}
