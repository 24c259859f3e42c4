//! Which planted bugs are hunted: those that are named, or some drawn by the commit.
//!
//! The bugs stand in the code they are of, as [`Failpoint`]s.

use std::process::Command;

use domain::failpoint::Failpoint;

use crate::{
    error::{Error, Result},
    process, workspace,
};

/// The bugs of these names, or all of them if none is named.
pub(crate) fn named(names: &[String]) -> Result<Vec<Failpoint>> {
    if names.is_empty() {
        return Ok(Failpoint::ALL.to_vec());
    }
    let find = |name: &String| name.parse().map_err(|detail: String| failed(&detail));
    names.iter().map(find).collect()
}

fn failed(detail: &str) -> Error {
    Error::step("--planted", detail)
}

/// The names of `n` bugs for the commit that is checked out, or for none where there is no git.
pub(crate) fn of_this_commit(n: usize) -> Vec<String> {
    let mut git = Command::new("git");
    git.args(["rev-parse", "HEAD"]).current_dir(workspace::root());
    let commit = process::output("git rev-parse", &mut git).unwrap_or_default();
    drawn(&commit, n).into_iter().map(ToOwned::to_owned).collect()
}

/// The names of `n` bugs, or of all where there are fewer: the same for the same commit, and
/// each as likely as another.
pub(crate) fn drawn(commit: &str, n: usize) -> Vec<&'static str> {
    let mut names: Vec<_> = Failpoint::ALL.iter().map(|bug| bug.name()).collect();
    names.sort_by_key(|name| (hash(&format!("{commit} {name}")), *name));
    names.truncate(n);
    names
}

/// FNV-1a, which is the same on every machine and toolchain:
/// <https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>. Its high bits hardly change with
/// the last bytes, so they are mixed as `MurmurHash3` does at its end.
fn hash(text: &str) -> u64 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn bugs_are_found_by_their_names() {
        let found = named(&["file-forgotten".to_owned()]).unwrap();
        assert_eq!(found, [Failpoint::FileForgotten]);
        assert_eq!(named(&[]).unwrap(), Failpoint::ALL);
        assert!(named(&["nothing".to_owned()]).unwrap_err().to_string().contains("lease-ignored"));
    }

    #[test]
    fn a_commit_always_draws_the_same_bugs_and_none_twice() {
        assert_eq!(drawn("1fda2bb", 2), drawn("1fda2bb", 2));
        for n in 0..=Failpoint::ALL.len() + 1 {
            let bugs: BTreeSet<_> = drawn("1fda2bb", n).into_iter().collect();
            assert_eq!(bugs.len(), n.min(Failpoint::ALL.len()));
        }
        assert_eq!(drawn("1fda2bb", 5)[..2], drawn("1fda2bb", 2), "more of them begin the same");
    }

    #[test]
    fn over_many_commits_every_bug_is_drawn_about_as_often() {
        let mut often: BTreeMap<&str, usize> = BTreeMap::new();
        for commit in 0..2700_u32 {
            for bug in drawn(&format!("{commit:040x}"), 2) {
                *often.entry(bug).or_default() += 1;
            }
        }
        assert_eq!(often.len(), Failpoint::ALL.len());
        let fair = 2 * 2700 / Failpoint::ALL.len();
        let unfair: Vec<_> =
            often.iter().filter(|(_, n)| **n < fair * 2 / 3 || **n > fair * 3 / 2).collect();
        assert!(unfair.is_empty(), "not about {fair} times: {unfair:?}");
    }
}
