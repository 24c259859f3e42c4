//! Fetches the files of messages before the providers' links end.

fn main() -> Result<(), runtime::Error> {
    runtime::media::run()
}
