use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

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
        patience: Duration::from_secs(20),
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

/// A hub on this machine that has some files of `org/name`, and the paths that it was asked for.
struct LocalHub {
    endpoint: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl LocalHub {
    /// A hub that sends at most `most` bytes of a file and then nothing more, with the connection open.
    fn new(files: &'static [(&'static str, &'static str)], most: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let paths = asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let paths = paths.clone();
                thread::spawn(move || answer(stream, files, most, &paths));
            }
        });
        Self { endpoint, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// Answers the requests of one connection.
fn answer(mut stream: TcpStream, files: &[(&str, &str)], most: usize, paths: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        let mut line = String::new();
        let mut first = false;
        while reader.read_line(&mut line).unwrap() > 2 {
            first |= line.to_ascii_lowercase().starts_with("range: bytes=0-0");
            line.clear();
        }
        let path = request.split(' ').nth(1).unwrap().to_owned();
        paths.lock().unwrap().push(path.clone());
        let (head, body) = match path.rsplit_once(&format!("/resolve/{COMMIT}/")) {
            None => {
                let names = files.iter();
                let names = names.map(|(name, _)| format!("{{\"rfilename\":\"{name}\"}}"));
                let names: Vec<String> = names.collect();
                let body = format!(
                    "{{\"sha\":\"{COMMIT}\",\"siblings\":[{}]}}",
                    names.join(",")
                );
                ("200 OK\r\nContent-Type: application/json".to_owned(), body)
            }
            Some((_, name)) => {
                let (_, content) = files.iter().find(|(own, _)| *own == name).unwrap();
                let end = if first { 1 } else { content.len() };
                let head = format!(
                    "206 Partial Content\r\nETag: \"{name}\"\r\nX-Repo-Commit: {COMMIT}\r\nContent-Range: bytes 0-{}/{}",
                    end - 1,
                    content.len()
                );
                (head, content[..end].to_owned())
            }
        };
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n"
        )
        .unwrap();
        stream
            .write_all(&body.as_bytes()[..length.min(most)])
            .unwrap();
    }
}

const FILES: &[(&str, &str)] = &[
    (CONFIG, "{}"),
    ("preprocessor_config.json", "{\"size\": 352}"),
    ("model.safetensors", "weights"),
];

fn online(hub: Hub, server: &LocalHub) -> Hub {
    Hub {
        offline: false,
        endpoint: Some(server.endpoint.clone()),
        ..hub
    }
}

/// Python's client leaves a cache without the files that it was not asked for.
#[test]
fn a_cache_with_weights_alone_is_completed_once() {
    let (folder, hub) = cache(&[CONFIG, "model.safetensors"]);
    let server = LocalHub::new(FILES, usize::MAX);
    let hub = online(hub, &server);
    let files = hub.resolve("org/name", None).unwrap();
    assert_eq!(files.unfetched, [""; 0]);
    let file = files.folder.join("preprocessor_config.json");
    assert_eq!(fs::read_to_string(file).unwrap(), "{\"size\": 352}");
    // What was there is left as it is.
    let weights = folder.path().join("models--org--name/snapshots");
    let weights = weights.join(COMMIT).join("model.safetensors");
    assert_eq!(fs::read(weights).unwrap(), b"");
    let asked = server.asked();
    assert!(asked.iter().all(|path| !path.contains("safetensors")));
    // It is known now that the hub has no vocabulary.
    assert_eq!(hub.resolve("org/name", None).unwrap(), files);
    assert_eq!(hub.resolve("org/name", Some("v1")).unwrap(), files);
    assert_eq!(server.asked(), asked);
}

#[test]
fn a_model_is_fetched_whole_and_then_found_offline() {
    let folder = tempfile::tempdir().unwrap();
    let server = LocalHub::new(FILES, usize::MAX);
    let hub = Hub {
        cache: folder.path().to_owned(),
        offline: false,
        endpoint: Some(server.endpoint.clone()),
        token: None,
        patience: Duration::from_secs(20),
    };
    let fetched = hub.resolve("org/name", Some(COMMIT)).unwrap();
    assert_eq!(fs::read(&fetched.weights).unwrap(), b"weights");
    let offline = Hub {
        offline: true,
        ..hub
    };
    let cached = offline.resolve("org/name", Some(COMMIT)).unwrap();
    assert_eq!(cached, fetched);
    assert_eq!(cached.unfetched, [""; 0]);
}

#[test]
fn what_the_hub_may_have_is_named_offline() {
    let (_folder, hub) = cache(&[CONFIG, "model.safetensors", "merges.txt"]);
    let files = hub.resolve("org/name", None).unwrap();
    assert!(files.unfetched.contains(&"preprocessor_config.json"));
    assert!(!files.unfetched.contains(&"merges.txt"));
}

/// Neither an answer that does not come nor a download that stops can hold up the program.
#[test]
fn a_silent_hub_is_an_error() {
    for most in [0, 3] {
        let (_folder, hub) = cache(&[]);
        let server = LocalHub::new(FILES, most);
        let hub = Hub {
            patience: Duration::from_millis(300),
            ..online(hub, &server)
        };
        let error = hub.resolve("org/name", None).unwrap_err().to_string();
        assert!(error.contains("silent"), "{error}");
    }
    let slow = |alive: &Alive| {
        for _ in 0..20 {
            thread::sleep(Duration::from_millis(20));
            alive.sign();
        }
        7
    };
    assert_eq!(watched(Duration::from_millis(100), slow), Some(7));
}
