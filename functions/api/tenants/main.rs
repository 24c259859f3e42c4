//! API of tenants, their API keys and their automations.

pub(crate) fn main() -> Result<(), runtime::Error> {
    accounts::api::tenants::run()
}
