//! Health check.

pub(crate) fn main() -> Result<(), runtime::Error> {
    work::api::status::run()
}
