//! API of conversations.

fn main() -> Result<(), runtime::Error> {
    runtime::api::conversations::run()
}
