//! The API for voice clients.

fn main() -> Result<(), runtime::Error> {
    runtime::api::voice::run()
}
