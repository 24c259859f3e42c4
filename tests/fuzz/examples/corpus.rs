//! Writes the corpora: `corpus FOLDER WEBHOOK...` makes one folder a webhook.

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = std::path::PathBuf::from(arguments.next().unwrap_or_else(|| ".".to_owned()));
    for name in arguments {
        let own = folder.join(&name);
        std::fs::create_dir_all(&own)?;
        for (example, input) in fuzz::corpus(&name) {
            std::fs::write(own.join(example), input)?;
        }
    }
    Ok(())
}
