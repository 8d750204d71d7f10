//! Writes files completely or not at all, through a temporary file that is synced and renamed.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

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

/// Suffix of temporary files, which a killed process may leave.
pub const PART_SUFFIX: &str = ".part";

/// Reads a whole file.
///
/// # Errors
/// [`ImageError::Read`].
pub fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| ImageError::read(path, e))
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
    builder.prefix(".vlsm-").suffix(PART_SUFFIX);
    #[cfg(unix)]
    {
        // The process's umask still applies, as to any new file.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut part = builder.tempfile_in(parent(path))?;
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
mod tests {
    use super::*;

    #[test]
    fn a_write_replaces_the_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.json");
        write_atomic_bytes(&path, b"a long first content").unwrap();
        write_atomic_bytes(&path, b"short").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"short");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("adapter.safetensors");
        write_atomic_bytes(&path, b"old").unwrap();
        let error = write_atomic(&path, |file| {
            file.write_all(b"half of the n")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        })
        .unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("adapter.safetensors") && message.contains("free some disk space"),
            "{message}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_atomic_bytes(&folder.path().join("absent/x.json"), b"x").unwrap_err();
        assert!(
            error.to_string().contains("create the folder first"),
            "{error}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_those_of_a_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        write_atomic_bytes(&ours, b"x").unwrap();
        std::fs::write(&plain, b"x").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }
}
