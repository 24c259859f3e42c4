//! API of dead letters: list and redrive.

pub(crate) fn main() -> Result<(), runtime::Error> {
    operations::api::run()
}
