//! API of messages: send, and get with history.

fn main() -> Result<(), runtime::Error> {
    runtime::api::messages::run()
}
