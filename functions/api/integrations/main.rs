//! API of integrations.

pub(crate) fn main() -> Result<(), runtime::Error> {
    accounts::api::integrations::run()
}
