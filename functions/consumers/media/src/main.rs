//! Downloads the media of messages before the URLs of the providers expire.

fn main() -> Result<(), runtime::Error> {
    runtime::media::run()
}
