//! Ends overdue jobs and counts the others, once a minute.

pub(crate) fn main() -> Result<(), runtime::Error> {
    work::handlers::sweep::run()
}
