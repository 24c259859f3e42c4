//! Selection of planted bugs: those named on the command line, or some selected by the commit id.
//!
//! Each bug is a [`Failpoint`] in the code that it breaks.

use std::process::Command;

use domain::failpoint::Failpoint;

use crate::{
    error::{Error, Result},
    process, workspace,
};

/// Returns the bugs with these names, or all bugs if there are no names.
pub(crate) fn find(names: &[String]) -> Result<Vec<Failpoint>> {
    if names.is_empty() {
        return Ok(Failpoint::ALL.to_vec());
    }
    let find = |name: &String| name.parse().map_err(|detail: String| failed(&detail));
    names.iter().map(find).collect()
}

fn failed(detail: &str) -> Error {
    Error::step("--planted", detail)
}

/// Returns the names of `n` bugs selected by the current commit, or by an empty id without git.
pub(crate) fn select_for_commit(n: usize) -> Vec<String> {
    let mut git = Command::new("git");
    git.args(["rev-parse", "HEAD"]).current_dir(workspace::root());
    let commit = process::output("git rev-parse", &mut git).unwrap_or_default();
    select(&commit, n).into_iter().map(ToOwned::to_owned).collect()
}

/// Returns the names of `n` bugs, or of all if there are fewer. The same commit selects the same
/// bugs, and every bug is equally likely.
pub(crate) fn select(commit: &str, n: usize) -> Vec<&'static str> {
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
    fn bugs_are_found_by_name() {
        let found = find(&["file-forgotten".to_owned()]).unwrap();
        assert_eq!(found, [Failpoint::FileForgotten]);
        assert_eq!(find(&[]).unwrap(), Failpoint::ALL);
        assert!(find(&["nothing".to_owned()]).unwrap_err().to_string().contains("lease-ignored"));
    }

    #[test]
    fn a_commit_always_selects_the_same_bugs_without_repeats() {
        assert_eq!(select("1fda2bb", 2), select("1fda2bb", 2));
        for n in 0..=Failpoint::ALL.len() + 1 {
            let bugs: BTreeSet<_> = select("1fda2bb", n).into_iter().collect();
            assert_eq!(bugs.len(), n.min(Failpoint::ALL.len()));
        }
        assert_eq!(
            select("1fda2bb", 5)[..2],
            select("1fda2bb", 2),
            "a larger selection starts with a smaller one"
        );
    }

    #[test]
    fn over_many_commits_every_bug_is_selected_equally_often() {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for commit in 0..2700_u32 {
            for bug in select(&format!("{commit:040x}"), 2) {
                *counts.entry(bug).or_default() += 1;
            }
        }
        assert_eq!(counts.len(), Failpoint::ALL.len());
        let fair = 2 * 2700 / Failpoint::ALL.len();
        let unfair: Vec<_> =
            counts.iter().filter(|(_, n)| **n < fair * 2 / 3 || **n > fair * 3 / 2).collect();
        assert!(unfair.is_empty(), "not about {fair} times: {unfair:?}");
    }
}
