//! API of the audit log.

pub(crate) fn main() -> Result<(), runtime::Error> {
    accounts::api::audit::run()
}
