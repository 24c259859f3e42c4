//! Replays events, page by page.

pub(crate) fn main() -> Result<(), runtime::Error> {
    events::handlers::replay::run()
}
