//! Replays events, page by page.

fn main() -> Result<(), runtime::Error> {
    runtime::replay::run()
}
