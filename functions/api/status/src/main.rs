//! Tells anybody how the hub is.

fn main() -> Result<(), runtime::Error> {
    runtime::api::status::run()
}
