//! API of access tokens for voice clients.

fn main() -> Result<(), runtime::Error> {
    runtime::api::voice::run()
}
