//! Memory of this process.

/// Peak resident memory of this process, in bytes; `None` where the system does not report it
/// (anything but Linux).
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Lets [`peak_memory`] count from now on, so that each run of a study has its own. Without effect where the system cannot do so
/// (anything but Linux).
pub(crate) fn reset_peak_memory() {
    // `man proc_pid_clear_refs`: 5 sets the peak to what is resident now.
    if let Err(error) = std::fs::write("/proc/self/clear_refs", "5") {
        tracing::debug!("the peak of memory counts from the start of the process: {error}");
    }
}
