//! Writes files and folders completely or not at all, through temporary ones that are synced and renamed; reads regular
//! files only.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::error::{ImageError, Result};

/// Writes `path` so that a reader, even after a crash, sees the old or the new content, never a part of it.
///
/// The content is written to a temporary file in the same folder and synced to disk. The file is then renamed, and the
/// folder is synced. The file has the usual permissions of a new file.
///
/// # Errors
/// [`ImageError::Write`] if the folder is not writable, `write` fails, or the disk is full. `path` is then unchanged,
/// and the temporary file is removed.
pub fn write_atomic(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
    replace(path, write).map_err(|source| ImageError::write(path, source))
}

/// Writes `bytes` to `path` as [`write_atomic`] does.
///
/// # Errors
/// As [`write_atomic`].
pub fn write_atomic_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomic(path, |file| file.write_all(bytes))
}

/// [`write_atomic`] with plain I/O errors, for callers with their own error type.
///
/// # Errors
/// Those of the operating system and of `write`.
pub fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let part = write_part(path, write)?;
    part.as_file().sync_all()?;
    part.persist(path).map_err(|error| error.error)?;
    sync_folder(parent(path))
}

/// As [`replace`], but without a sync: after a power failure the file may be damaged. For files that are validated on
/// reading and can be regenerated.
///
/// # Errors
/// As [`replace`].
pub fn replace_unsynced(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let part = write_part(path, write)?;
    part.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Writes the new folder `out` so that it is complete or absent: into a temporary folder next to it, which `write` fills and
/// which is then renamed. An empty folder is replaced. What a killed process left next to it is removed.
///
/// # Errors
/// [`ImageError::Write`] if `out` is not empty or cannot be written, and the error of `write`; the temporary folder is then
/// removed.
pub fn write_folder<T, E: From<ImageError>>(
    out: &Path,
    write: impl FnOnce(&Path) -> Result<T, E>,
) -> Result<T, E> {
    refuse_occupied(out)?;
    let fault = |e| ImageError::write(out, e);
    let parent = parent(out);
    std::fs::create_dir_all(parent).map_err(fault)?;
    sweep_parts(parent);
    let mut builder = tempfile::Builder::new();
    builder.prefix(PART_PREFIX).suffix(PART_SUFFIX);
    #[cfg(unix)]
    {
        // The process's umask still applies, as to any new folder.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o777));
    }
    let make = || {
        let part = builder.tempdir_in(parent)?;
        let lock = File::open(part.path()).ok();
        Ok((part, lock))
    };
    let (part, _lock) = locked(make, |(part, lock)| (part.path(), lock.as_ref())).map_err(fault)?;
    let written = write(part.path())?;
    refuse_occupied(out)?;
    if out.is_dir() {
        std::fs::remove_dir(out).map_err(fault)?;
    }
    std::fs::rename(part.path(), out).map_err(fault)?;
    // After the rename there is no temporary folder to remove.
    let _ = part.keep();
    sync_folder(parent).map_err(fault)?;
    Ok(written)
}

/// Makes a temporary file or folder and locks it, which shows [`sweep_parts`] that its process is alive. Where there are no
/// locks it stays unlocked.
fn locked<P>(
    make: impl Fn() -> io::Result<P>,
    parts: impl Fn(&P) -> (&Path, Option<&File>),
) -> io::Result<P> {
    loop {
        let part = make()?;
        let (path, file) = parts(&part);
        let _ = file.map(File::lock);
        // Another process may have swept it before it was locked.
        if path.exists() {
            return Ok(part);
        }
    }
}

/// Fails if `out` exists and is anything but an empty folder. A broken link counts as existing.
///
/// # Errors
/// [`ImageError::Write`].
pub fn refuse_occupied(out: &Path) -> Result<()> {
    let is_free = match std::fs::symlink_metadata(out) {
        Err(_) => true,
        Ok(metadata) => {
            metadata.is_dir()
                && std::fs::read_dir(out).is_ok_and(|mut files| files.next().is_none())
        }
    };
    if is_free {
        return Ok(());
    }
    let source = io::Error::new(io::ErrorKind::AlreadyExists, "it exists and is not empty");
    Err(ImageError::Write {
        path: out.to_path_buf(),
        source: source.into(),
        fix: "choose another folder, or remove it",
    })
}

/// Prefix of temporary files and folders.
const PART_PREFIX: &str = ".vlsm-";

/// Suffix of temporary files and folders, which a killed process may leave.
pub const PART_SUFFIX: &str = ".part";

/// Removes the temporary files and folders that killed processes left in a folder, not in its sub-folders. Those of a living
/// process are locked and stay. Returns their number.
///
/// Call it when a folder is opened for writing. A file that cannot be removed is left.
pub fn sweep_parts(folder: &Path) -> usize {
    let is_part = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(PART_PREFIX) && name.ends_with(PART_SUFFIX)
    };
    let remove = |path: PathBuf| {
        let part = File::open(&path).ok()?;
        match part.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return None,
            // Without locks only the age shows it.
            Err(TryLockError::Error(_)) => {
                let age = part.metadata().ok()?.modified().ok()?.elapsed().ok()?;
                if age < ABANDONED {
                    return None;
                }
            }
        }
        let removed = if path.is_dir() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        removed.ok()
    };
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter(is_part).filter_map(remove).count()
}

/// Age from which a temporary file is taken as left, on file systems without locks.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// Largest file that is read as a whole, in bytes.
const LIMIT: u64 = 1 << 30;

/// Opens a file for reading. Devices and pipes are refused: they may have no end, or wait for a writer.
///
/// # Errors
/// Those of the operating system, and [`io::ErrorKind::InvalidInput`] if `path` is not a regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    // Before it is opened, since that waits for a pipe's writer.
    let kind = std::fs::metadata(path)?;
    if kind.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::IsADirectory,
            "it is a folder",
        ));
    }
    if !kind.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is a device or a pipe, not a file",
        ));
    }
    File::open(path)
}

/// Reads a whole regular file of at most `limit` bytes.
///
/// # Errors
/// As [`open_regular`], and [`io::ErrorKind::FileTooLarge`].
pub fn read_up_to(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {limit} bytes"),
        ));
    }
    Ok(bytes)
}

/// Reads a whole regular file of at most 1 GiB.
///
/// # Errors
/// [`ImageError::Read`].
pub fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    read_up_to(path, LIMIT).map_err(|e| ImageError::read(path, e))
}

/// Extensions of image files. The format is detected from the content.
const EXTENSIONS: [&str; 9] = [
    "jpg", "jpeg", "jpe", "png", "bmp", "dib", "tif", "tiff", "webp",
];

/// The files of a folder that have an image's extension, without hidden files, in no particular order.
///
/// # Errors
/// [`ImageError::Read`].
pub fn image_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| ImageError::read(folder, e))? {
        let path = entry.map_err(|e| ImageError::read(folder, e))?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let extension = path
            .extension()
            .map(|e| e.to_string_lossy().to_ascii_lowercase())
            .unwrap_or_default();
        if !hidden && EXTENSIONS.contains(&extension.as_str()) && path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

/// The folder of a file.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Writes a temporary file in the folder of `path`.
fn write_part(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PART_PREFIX).suffix(PART_SUFFIX);
    #[cfg(unix)]
    {
        // The process's umask still applies, as to any new file.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let make = || builder.tempfile_in(parent(path));
    let mut part = locked(make, |part| (part.path(), Some(part.as_file())))?;
    write(part.as_file_mut())?;
    part.as_file_mut().flush()?;
    Ok(part)
}

/// Makes the rename durable. Only Unix can sync folders.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some network file systems cannot sync a folder; the file itself is safe.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
#[path = "fs_tests.rs"]
mod tests;
