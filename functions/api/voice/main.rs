//! API of access tokens for voice clients.

pub(crate) fn main() -> Result<(), runtime::Error> {
    voice::api::run()
}
