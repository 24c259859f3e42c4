//! CPU share of a small function, as a control group.
//!
//! Lambda gives one full vCPU at 1,769 MB and a proportional share below:
//! <https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>. This is an emulation:
//! Lambda's scheduling period is not documented.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::error::{Error, Result};

/// Scheduling period in microseconds.
const PERIOD: u32 = 20_000;

/// A control group, removed on drop. Each process needs its own: a process that exceeds its quota
/// is charged to its group, and a sandbox starts without such a debt.
pub(crate) struct Share {
    folder: PathBuf,
}

impl Share {
    /// Creates the share of a function with this many megabytes, or returns `None` if this machine
    /// has no writable control groups.
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

    /// Moves a process into the group.
    pub(crate) fn hold(&self, id: u32) -> Result<()> {
        let path = self.folder.join("cgroup.procs");
        fs::write(&path, id.to_string()).map_err(Error::file(&path))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // Removal fails while a process is in the group, which is then left behind.
        drop(fs::remove_dir(&self.folder));
    }
}
