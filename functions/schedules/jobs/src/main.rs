//! Ends overdue jobs and counts the others, once a minute.

fn main() -> Result<(), runtime::Error> {
    runtime::jobs::run()
}
