//! Once a minute: ends jobs that nobody did, and counts the others.

fn main() -> Result<(), runtime::Error> {
    runtime::jobs::run()
}
