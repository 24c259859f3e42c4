//! Test of the webhooks' signature verification against the providers' own libraries.

use std::process::Command;

use crate::{
    built::{self, Built},
    error::Result,
    process, python, workspace,
};

/// Signs requests with the providers' libraries and tests the webhooks with them.
pub(crate) fn run(built: Option<&Built>) -> Result<()> {
    let folder = workspace::root().join("tests/sdks");
    let python = python::environment(&folder.join("requirements.txt"))?;
    let signed = process::output("sign.py", Command::new(python).arg(folder.join("sign.py")))?;
    let file = workspace::root().join("target/signed-requests.jsonl");
    workspace::write(&file, &signed)?;
    let mut test = built::service_test(built, "tests", "sdks")?;
    process::run("tests sdks", test.env("SIGNED_REQUESTS", &file))
}
