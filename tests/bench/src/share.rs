//! The part of a processor that a small function has, as a control group.
//!
//! Lambda gives a whole processor at 1,769 MB and less in proportion:
//! <https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>. An emulation, not
//! AWS: its periods are not documented.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::error::{Error, Result};

/// How often the part is given, in microseconds.
const PERIOD: u32 = 20_000;

/// A control group, which goes when it is dropped. One for each process: what a process used
/// too much of is taken from the next one in its group, and a sandbox has no predecessor.
pub(crate) struct Share {
    folder: PathBuf,
}

impl Share {
    /// The part of a function with so many megabytes; `None` if this machine has no control
    /// groups that can be written.
    pub(crate) fn of(megabytes: u32) -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("bench-{}-{number}", std::process::id());
        let quota = PERIOD * megabytes / 1769;
        let old = Path::new("/sys/fs/cgroup/cpu").join(&name);
        let new = Path::new("/sys/fs/cgroup").join(&name);
        let settings: [(PathBuf, Vec<(&str, String)>); 2] = [
            (
                old,
                vec![
                    ("cpu.cfs_period_us", PERIOD.to_string()),
                    ("cpu.cfs_quota_us", quota.to_string()),
                ],
            ),
            (new, vec![("cpu.max", format!("{quota} {PERIOD}"))]),
        ];
        settings.into_iter().find_map(|(folder, files)| {
            fs::create_dir(&folder).ok()?;
            let share = Self { folder };
            let set = files.iter().all(|(file, value)| {
                let path = share.folder.join(file);
                path.exists() && fs::write(path, value).is_ok()
            });
            set.then_some(share)
        })
    }

    /// Gives a process this part from now on.
    pub(crate) fn hold(&self, id: u32) -> Result<()> {
        let path = self.folder.join("cgroup.procs");
        fs::write(&path, id.to_string()).map_err(Error::file(&path))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // It cannot go while a process is in it; then it stays, empty of meaning.
        drop(fs::remove_dir(&self.folder));
    }
}
