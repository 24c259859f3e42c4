//! Turns what people wrote into messages and conversations, and tells the automation.

fn main() -> Result<(), runtime::Error> {
    runtime::inbound::run()
}
