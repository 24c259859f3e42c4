//! Once a minute: puts retries whose time has come back into their queue.

fn main() -> Result<(), runtime::Error> {
    runtime::schedule::run()
}
