use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A cache with `org/name` in it: `main` and the tag `v1` point to one commit with the given files.
fn cache(files: &[&str]) -> (tempfile::TempDir, Hub) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("models--org--name");
    let snapshot = root.join("snapshots").join(COMMIT);
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(root.join("refs/pr")).unwrap();
    for reference in ["main", "v1", "pr/7"] {
        fs::write(root.join("refs").join(reference), COMMIT).unwrap();
    }
    for file in files {
        fs::write(snapshot.join(file), "").unwrap();
    }
    let hub = Hub {
        cache: folder.path().to_owned(),
        offline: true,
        endpoint: None,
        token: None,
    };
    (folder, hub)
}

#[test]
fn hub_names_and_folders_are_distinguished() {
    let hub = |repo: &str, revision: Option<&str>| Source::Hub {
        repo: repo.to_owned(),
        revision: revision.map(str::to_owned),
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    assert_eq!(parse_source(path), Source::Folder(path.into()));
    assert_eq!(
        parse_source("CIDAS/clipseg-rd64-refined"),
        hub("CIDAS/clipseg-rd64-refined", None)
    );
    assert_eq!(parse_source("org/name@v1.0"), hub("org/name", Some("v1.0")));
    assert_eq!(
        parse_source("org/name@refs/pr/7"),
        hub("org/name", Some("refs/pr/7"))
    );
    for name in [
        "nowhere",
        "./a/b",
        "../b",
        "/no/such",
        "a/b/c",
        "a/",
        "org/name@",
        "org/name@../../x",
        "",
    ] {
        assert_eq!(parse_source(name), Source::Folder(name.into()), "{name}");
    }
}

#[test]
fn a_cached_model_is_found_by_branch_tag_and_commit() {
    let (folder, hub) = cache(&[CONFIG, "model.safetensors", "pytorch_model.bin"]);
    let snapshot = folder
        .path()
        .join("models--org--name/snapshots")
        .join(COMMIT);
    for revision in [None, Some("main"), Some("v1"), Some("pr/7"), Some(COMMIT)] {
        let files = hub.resolve("org/name", revision).unwrap();
        assert_eq!(files.weights, snapshot.join("model.safetensors"));
        assert_eq!(files.config, Some(snapshot.join(CONFIG)));
        assert_eq!(files.folder, snapshot);
        assert_eq!(files.revision.as_deref(), Some(COMMIT));
    }
}

#[test]
fn pytorch_weights_will_do() {
    let (_folder, hub) = cache(&[CONFIG, "pytorch_model.bin"]);
    assert!(
        hub.resolve("org/name", None)
            .unwrap()
            .weights
            .ends_with("pytorch_model.bin")
    );
}

#[test]
fn what_is_not_cached_is_an_error_offline() {
    let (folder, hub) = cache(&[CONFIG]);
    for (repo, revision) in [
        ("org/name", None),
        ("org/name", Some("v2")),
        ("org/other", None),
    ] {
        let error = hub.resolve(repo, revision).unwrap_err().to_string();
        assert!(
            error.contains(repo) && error.contains("HF_HUB_OFFLINE"),
            "{error}"
        );
        assert!(error.contains(folder.path().to_str().unwrap()), "{error}");
    }
}

#[test]
fn an_unreachable_hub_is_an_error_that_names_the_fix() {
    let (folder, hub) = cache(&[]);
    // Nothing listens on the discard port.
    let hub = Hub {
        offline: false,
        endpoint: Some("http://127.0.0.1:9".to_owned()),
        ..hub
    };
    let error = hub.resolve("org/name", None).unwrap_err().to_string();
    assert!(
        error.contains("org/name") && error.contains("give a model's folder"),
        "{error}"
    );
    assert!(error.contains(folder.path().to_str().unwrap()), "{error}");
}

#[test]
fn folders_must_be_complete() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().to_str().unwrap();
    let error = || resolve(name).unwrap_err().to_string();
    assert!(error().contains(CONFIG), "{}", error());
    fs::write(folder.path().join(CONFIG), "{}").unwrap();
    assert!(
        error().contains("`model.safetensors` or `pytorch_model.bin`"),
        "{}",
        error()
    );
    fs::write(folder.path().join("model.safetensors.index.json"), "{}").unwrap();
    assert!(error().contains("several files"), "{}", error());
    let weights = folder.path().join("model.safetensors");
    fs::write(&weights, "").unwrap();
    let files = resolve(name).unwrap();
    assert_eq!((files.weights, files.revision), (weights.clone(), None));
    let alone = resolve(weights.to_str().unwrap()).unwrap();
    assert_eq!((alone.weights, alone.config), (weights.clone(), None));
    assert!(matches!(
        resolve("no-such-base"),
        Err(HubError::NoSuchBase { .. })
    ));
}

#[test]
fn the_cache_folder_follows_the_environment() {
    let folder = |vars: &[(&str, &str)]| {
        let find = |name: &str| {
            vars.iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| (*v).to_owned())
        };
        cache_folder(find).unwrap()
    };
    assert_eq!(
        folder(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/h")]),
        Path::new("/c")
    );
    assert_eq!(
        folder(&[("HF_HOME", "/h"), ("XDG_CACHE_HOME", "/x")]),
        Path::new("/h/hub")
    );
    assert_eq!(
        folder(&[("XDG_CACHE_HOME", "/x")]),
        Path::new("/x/huggingface/hub")
    );
    assert!(folder(&[]).ends_with(".cache/huggingface/hub"));
}
