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

#[test]
fn what_a_killed_process_left_is_swept() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in [".vlsm-old.part", ".vlsm-x", "data.part", ".vlsm-alive.part"] {
        std::fs::write(path(name), b"x").unwrap();
    }
    std::fs::create_dir(path(".vlsm-folder.part")).unwrap();
    std::fs::write(path(".vlsm-folder.part/image.png"), b"x").unwrap();
    let alive = File::open(path(".vlsm-alive.part")).unwrap();
    alive.lock().unwrap();
    assert_eq!(sweep_parts(folder.path()), 2);
    let mut left: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, [".vlsm-alive.part", ".vlsm-x", "data.part"]);
    drop(alive);
    assert_eq!(sweep_parts(folder.path()), 1);
    assert_eq!(sweep_parts(&path("absent")), 0);
}

#[test]
fn a_file_that_is_being_written_is_not_swept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.json");
    write_atomic(&path, |file| {
        assert_eq!(sweep_parts(folder.path()), 0);
        file.write_all(b"whole")
    })
    .unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"whole");
}

#[test]
fn a_sweep_never_takes_a_file_from_a_living_writer() {
    let folder = tempfile::tempdir().unwrap();
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sweep = || {
            while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
                sweep_parts(folder.path());
            }
        };
        scope.spawn(sweep);
        for index in 0..300 {
            let path = folder.path().join(format!("{index}.json"));
            let written = replace_unsynced(&path, |file| file.write_all(b"x"));
            if written.is_err() {
                is_done.store(true, std::sync::atomic::Ordering::Relaxed);
            }
            written.unwrap();
        }
        for index in 0..30 {
            let out = folder.path().join(format!("set{index}"));
            let written = write_folder(&out, |part| write_atomic_bytes(&part.join("a"), b"x"));
            if written.is_err() {
                is_done.store(true, std::sync::atomic::Ordering::Relaxed);
            }
            written.unwrap();
        }
        is_done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn a_folder_is_written_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("data");
    let write = |part: &Path| write_atomic_bytes(&part.join("a"), b"x");
    let failed = write_folder(&out, |part| {
        write(part)?;
        Err::<(), _>(ImageError::write(part, io::ErrorKind::StorageFull.into()))
    });
    assert!(failed.is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    // As a killed process leaves it.
    std::fs::create_dir(folder.path().join(".vlsm-killed.part")).unwrap();
    std::fs::create_dir(&out).unwrap();
    write_folder(&out, |part| {
        assert_eq!(sweep_parts(folder.path()), 0, "it is in use");
        write(part)
    })
    .unwrap();
    assert_eq!(std::fs::read(out.join("a")).unwrap(), b"x");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let error = write_folder(&out, write).unwrap_err().to_string();
    assert!(
        error.contains("not empty") && error.contains("remove it"),
        "{error}"
    );
}

#[test]
fn large_files_and_folders_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    std::fs::write(&path, b"12345").unwrap();
    assert_eq!(read_up_to(&path, 5).unwrap(), b"12345");
    let error = read_up_to(&path, 4).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    let error = read_bytes(folder.path()).unwrap_err().to_string();
    assert!(error.contains("it is a folder"), "{error}");
}

#[cfg(unix)]
#[test]
fn devices_and_pipes_are_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    for path in [Path::new("/dev/zero"), &pipe] {
        let error = crate::read_image(path).unwrap_err().to_string();
        assert!(error.contains("not a file"), "{error}");
        assert!(crate::read_text(path).is_err());
        assert!(crate::read_size(path).is_err());
    }
}
