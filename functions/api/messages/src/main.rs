//! The API for messages: taken in, and shown with their history.

fn main() -> Result<(), runtime::Error> {
    runtime::api::messages::run()
}
