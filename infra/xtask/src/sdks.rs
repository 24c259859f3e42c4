//! The providers' own libraries sign, and the hub's webhooks must agree.

use std::process::Command;

use crate::{error::Result, process, python, tools, workspace};

/// Has the libraries sign requests, and tests the webhooks with them.
pub(crate) fn run() -> Result<()> {
    let folder = workspace::root().join("tests/sdks");
    let python =
        python::environment(&tools::folder().join("venv-sdks"), &folder.join("requirements.txt"))?;
    let signed = process::output("sign.py", Command::new(python).arg(folder.join("sign.py")))?;
    let file = workspace::root().join("target/signed-requests.jsonl");
    workspace::write(&file, &signed)?;
    process::run(
        "cargo test --test sdks",
        Command::new(workspace::cargo())
            .args(["test", "--quiet", "--package", "tests", "--features", "sdks", "--test", "sdks"])
            .env("SIGNED_REQUESTS", &file)
            .current_dir(workspace::root()),
    )
}
