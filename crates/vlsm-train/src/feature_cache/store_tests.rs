//! Files of features, and their folders.

use std::time::Duration;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn store(folder: &Path, dtype: CacheDtype) -> Store {
    Store {
        folder: folder.join("set"),
        dtype,
        values: 3,
    }
}

#[test]
fn written_features_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = ([0.1, -7e4], [1e-9]);
    for dtype in [CacheDtype::F32, CacheDtype::F16] {
        let store = store(folder.path(), dtype);
        let (mut a, mut b) = (first, second);
        assert!(!store.read(5, &mut [&mut a, &mut b]));
        store.write(5, &[&mut a, &mut b]).unwrap();
        assert!(store.open().unwrap().contains(&5));
        let (mut c, mut d) = ([0.0; 2], [0.0]);
        assert!(store.read(5, &mut [&mut c, &mut d]));
        dtype.round(&mut a);
        dtype.round(&mut b);
        assert_eq!((c, d), (a, b));
        clear(folder.path()).unwrap();
    }
    // The half nearest to 0.1, and values outside its range.
    let mut values = [0.1, -7e4, 1e-9];
    CacheDtype::F16.round(&mut values);
    assert_eq!(values, [0.099_975_586, f32::NEG_INFINITY, 0.0]);
}

/// Reading a pipe would wait for ever.
#[cfg(unix)]
#[test]
fn a_pipe_is_no_file_of_features() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), CacheDtype::F32);
    store.open().unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(store.path(5))
        .status();
    assert!(made.unwrap().success());
    assert!(!store.read(5, &mut [&mut [0.0; 3]]));
    store.write(5, &[&mut [1.0, 2.0, 3.0]]).unwrap();
    assert!(store.read(5, &mut [&mut [0.0; 3]]));
}

#[test]
fn the_sets_unused_for_longest_make_space() {
    let root = tempfile::tempdir().unwrap();
    let set = |name: &str| Store {
        folder: root.path().join(name),
        dtype: CacheDtype::F32,
        values: 3,
    };
    let [old, new, mine] = ["a", "b", "c"].map(set);
    for (age, store) in [(9, &old), (5, &new), (7, &mine)] {
        store.open().unwrap();
        store.write(1, &[&mut [1.0, 2.0, 3.0]]).unwrap();
        touch(&store.folder);
        let used = std::fs::File::options()
            .write(true)
            .open(store.folder.join(USED))
            .unwrap();
        used.set_modified(SystemTime::now() - age * DAY).unwrap();
    }
    let size = old.file_size();
    let free = |bytes: u64, most: u64| {
        let needed = usage(root.path()).unwrap().bytes + bytes;
        make_space(root.path(), &mine.folder, needed.saturating_sub(most)).unwrap()
    };
    assert_eq!(free(size, 4 * size), 0);
    assert_eq!(free(size, 3 * size), size);
    assert!(!old.folder.exists() && new.folder.exists());
    // The own set is never deleted.
    assert_eq!(free(size, size), size);
    assert!(!new.folder.exists() && mine.open().unwrap().contains(&1));
}

#[test]
fn temporary_files_of_killed_processes_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), CacheDtype::F32);
    store.write(1, &[&mut [1.0, 2.0, 3.0]]).unwrap();
    let [killed, living] =
        ["killed", "living"].map(|name| store.folder.join(format!(".vlsm-{name}{PART_SUFFIX}")));
    for path in [&killed, &living] {
        std::fs::write(path, "x").unwrap();
    }
    // A process that lives holds a lock.
    let lock = std::fs::File::open(&living).unwrap();
    lock.lock().unwrap();
    assert_eq!(store.open().unwrap(), HashSet::from([1]));
    assert!(!killed.exists() && living.exists());
    let usage = usage(folder.path()).unwrap();
    assert_eq!((usage.images, usage.bytes), (1, store.file_size() + 1));
    assert_eq!(clear(folder.path()).unwrap(), usage);
    assert!(!store.folder.exists());
}
