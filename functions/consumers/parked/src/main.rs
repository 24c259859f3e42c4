//! Writes down what was authentic and could not be read.

fn main() -> Result<(), runtime::Error> {
    runtime::parked::run()
}
