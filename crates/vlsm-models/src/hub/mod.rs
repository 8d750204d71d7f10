//! Finds a base model's files: in a folder, in the Hugging Face hub's local cache, or on the hub.
//!
//! The cache is the hub's ordinary one, shared with Python: `$HF_HUB_CACHE`, else `$HF_HOME/hub`, else
//! `$XDG_CACHE_HOME/huggingface/hub`, else `~/.cache/huggingface/hub`; in it
//! `models--{org}--{name}/{refs,snapshots,blobs,.no_exist}`. Cached files are used without a request, once it is known
//! which of the optional ones the hub has.

mod error;
mod watch;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};

pub use self::error::HubError;
use self::watch::{Alive, Download, watched};

/// A model's configuration in Transformers' format.
const CONFIG: &str = "config.json";
/// Names of the weights in the same folder, the preferred one first.
const WEIGHTS: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];
/// A model's configuration in open_clip's format.
pub(crate) const OPEN_CLIP_CONFIG: &str = "open_clip_config.json";
/// Configuration and weights in one folder, as Transformers and as open_clip write them.
const LAYOUTS: [(&str, [&str; 2]); 2] = [
    (CONFIG, WEIGHTS),
    (
        OPEN_CLIP_CONFIG,
        ["open_clip_model.safetensors", "open_clip_pytorch_model.bin"],
    ),
];
/// Files that are fetched if the repository has them.
const OPTIONAL: [&str; 6] = [
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "preprocessor_config.json",
];
/// The default revision.
const DEFAULT_REVISION: &str = "main";

/// What a base's name refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A folder in the format of Transformers or open_clip, or a file of weights.
    Folder(PathBuf),
    /// A repository on the hub.
    Hub {
        /// `organisation/name`.
        repo: String,
        /// Branch, tag or commit hash; `main` if not given.
        revision: Option<String>,
    },
}

/// The files of a base model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseFiles {
    /// `config.json` or `open_clip_config.json`; `None` for a file of weights alone.
    pub config: Option<PathBuf>,
    /// The weights: `model.safetensors`, say.
    pub weights: PathBuf,
    /// Where the tokenizer's files are, if the base has any.
    pub folder: PathBuf,
    /// The commit on the hub; `None` for a local folder.
    pub revision: Option<String>,
    /// Optional files that are not in the cache and that the hub may have. Empty for a local folder.
    pub unfetched: Vec<&'static str>,
}

/// Where and how the hub is reached. The environment's settings are collected here so that tests can set them.
#[derive(Debug, Clone)]
struct Hub {
    cache: PathBuf,
    offline: bool,
    endpoint: Option<String>,
    token: Option<String>,
    /// How long the hub may send nothing before a request fails.
    patience: Duration,
}

/// As long as Python's client waits for an answer, and longer than a slow proxy takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a base's name points: to a folder that exists, else a hub name (`org/name`, `org/name@revision`), else the
/// path of a folder that does not exist.
#[must_use]
pub fn parse_source(name: &str) -> Source {
    let folder = || Source::Folder(PathBuf::from(name));
    if Path::new(name).exists() {
        return folder();
    }
    let (repo, revision) = match name.split_once('@') {
        Some((repo, revision)) => (repo, Some(revision)),
        None => (name, None),
    };
    let parts: Vec<_> = repo.split('/').collect();
    let is_repo = parts.len() == 2 && parts.iter().all(|part| is_repo_part(part));
    // A revision is part of a path in the cache, so it may not climb out of it.
    let is_revision =
        |r: &str| r.split('/').all(|part| !matches!(part, "" | "." | "..")) && !r.contains('\\');
    match is_repo && revision.is_none_or(is_revision) {
        true => Source::Hub {
            repo: repo.to_owned(),
            revision: revision.map(str::to_owned),
        },
        false => folder(),
    }
}

fn is_repo_part(part: &str) -> bool {
    part.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && part
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// Finds the files of a base given as a folder or a hub name; fetches them where they are not in the cache.
///
/// A cached branch is used as it is: a newer commit on the hub is not looked for. `HF_HUB_OFFLINE=1` forbids requests.
///
/// # Errors
/// No such folder, a folder or repository that lacks a file, and failures to reach the hub.
pub fn resolve(name: &str) -> Result<BaseFiles, HubError> {
    match parse_source(name) {
        Source::Folder(folder) => from_folder(name, &folder),
        Source::Hub { repo, revision } => Hub::from_env()?.resolve(&repo, revision.as_deref()),
    }
}

fn from_folder(name: &str, folder: &Path) -> Result<BaseFiles, HubError> {
    if folder.is_file() {
        return Ok(BaseFiles {
            config: None,
            weights: folder.to_owned(),
            folder: folder.parent().unwrap_or(Path::new("")).to_owned(),
            revision: None,
            unfetched: Vec::new(),
        });
    }
    if !folder.is_dir() {
        return Err(HubError::NoSuchBase {
            name: name.to_owned(),
        });
    }
    model_files(folder, None).map_err(|what| HubError::Incomplete {
        folder: folder.to_owned(),
        what,
    })
}

/// A model's files in a folder, or the names of those that are missing.
fn model_files(folder: &Path, revision: Option<String>) -> Result<BaseFiles, String> {
    let (config, weights) = choose(|name| folder.join(name).is_file())?;
    Ok(BaseFiles {
        config: Some(folder.join(config)),
        weights: folder.join(weights),
        folder: folder.to_owned(),
        revision,
        unfetched: Vec::new(),
    })
}

/// The names of a model's description and weights among the files there are, or of those that are missing.
fn choose(has: impl Fn(&str) -> bool) -> Result<(&'static str, &'static str), String> {
    for (config, weights) in LAYOUTS {
        if let Some(weights) = weights.into_iter().find(|name| has(name))
            && has(config)
        {
            return Ok((config, weights));
        }
    }
    match LAYOUTS.into_iter().find(|(config, _)| has(config)) {
        Some((_, weights)) => Err(missing_weights(weights, has)),
        None => Err(format!("`{CONFIG}`")),
    }
}

/// Says which weights are missing, and that weights in several files are not read.
fn missing_weights([first, second]: [&str; 2], has: impl Fn(&str) -> bool) -> String {
    match [first, second]
        .iter()
        .find(|name| has(&format!("{name}.index.json")))
    {
        Some(name) => {
            format!("`{name}` in one piece (weights split into several files are not supported)")
        }
        None => format!("`{first}` or `{second}`"),
    }
}

/// The hub's cache folder, from environment variables given by a function.
fn cache_folder(var: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let path = |name: &str| var(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    path("HF_HUB_CACHE")
        .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| path("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| path("XDG_CACHE_HOME").map(|cache| cache.join("huggingface/hub")))
        .or_else(|| env::home_dir().map(|home| home.join(".cache/huggingface/hub")))
}

impl Hub {
    fn from_env() -> Result<Self, HubError> {
        let var = |name: &str| env::var(name).ok();
        let path = cache_folder(var).ok_or(HubError::NoCacheFolder)?;
        let cache =
            std::path::absolute(&path).map_err(|source| HubError::Cache { path, source })?;
        let offline = var("HF_HUB_OFFLINE").is_some_and(|v| {
            matches!(v.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
        });
        Ok(Self {
            cache,
            offline,
            endpoint: var("HF_ENDPOINT"),
            token: var("HF_TOKEN"),
            patience: PATIENCE,
        })
    }

    fn resolve(&self, repo: &str, revision: Option<&str>) -> Result<BaseFiles, HubError> {
        let revision = revision.unwrap_or(DEFAULT_REVISION);
        let Some(files) = self.cached(repo, revision) else {
            if self.offline {
                return Err(HubError::Offline {
                    repo: repo.to_owned(),
                    revision: revision.to_owned(),
                    cache: self.cache.clone(),
                });
            }
            return self.fetch(repo, revision);
        };
        let Some(commit) = &files.revision else {
            return Ok(files);
        };
        if files.unfetched.is_empty() || self.offline {
            return Ok(files);
        }
        // Another program filled the cache with what it needs, such as weights without a tokenizer.
        match self.fetch(repo, commit) {
            Ok(complete) => Ok(complete),
            Err(error) => {
                tracing::warn!(
                    "the hub could not be asked whether base `{repo}` has {}: {error}; HF_HUB_OFFLINE=1 stops such requests",
                    quoted(&files.unfetched)
                );
                Ok(files)
            }
        }
    }

    /// The folder of a repository in the cache.
    fn root(&self, repo: &str) -> PathBuf {
        self.cache
            .join(format!("models--{}", repo.replace('/', "--")))
    }

    /// The empty file by which Python's client records that a repository does not have a file.
    fn absence(&self, repo: &str, commit: &str, name: &str) -> PathBuf {
        self.root(repo).join(".no_exist").join(commit).join(name)
    }

    /// The model's files in the cache, if configuration and weights are there.
    fn cached(&self, repo: &str, revision: &str) -> Option<BaseFiles> {
        let root = self.root(repo);
        // A branch or tag is a file with the commit's hash in it; a commit is a snapshot's name itself.
        let commit = fs::read_to_string(root.join("refs").join(revision))
            .map(|hash| hash.trim().to_owned())
            .unwrap_or_else(|_| revision.to_owned());
        if commit.is_empty() || commit.contains(['/', '\\']) || commit.starts_with('.') {
            return None;
        }
        let snapshot = root.join("snapshots").join(&commit);
        let files = model_files(&snapshot, Some(commit.clone())).ok()?;
        let is_unknown = |name: &&str| {
            !snapshot.join(name).exists() && !self.absence(repo, &commit, name).exists()
        };
        Some(BaseFiles {
            unfetched: OPTIONAL.into_iter().filter(is_unknown).collect(),
            ..files
        })
    }

    /// Fetches the model's files into the cache.
    fn fetch(&self, repo: &str, revision: &str) -> Result<BaseFiles, HubError> {
        let (hub, name, branch) = (self.clone(), repo.to_owned(), revision.to_owned());
        let work = move |alive: &Alive| hub.fetch_now(&name, &branch, alive);
        watched(self.patience, work).unwrap_or_else(|| {
            let seconds = self.patience.as_secs();
            let reason = format!("the connection has been silent for {seconds} seconds");
            Err(self.fetch_error(repo, revision, reason))
        })
    }

    fn fetch_error(&self, repo: &str, revision: &str, reason: String) -> HubError {
        HubError::Fetch {
            repo: repo.to_owned(),
            revision: revision.to_owned(),
            cache: self.cache.clone(),
            reason,
        }
    }

    fn fetch_now(&self, repo: &str, revision: &str, alive: &Alive) -> Result<BaseFiles, HubError> {
        let failed = |reason: String| self.fetch_error(repo, revision, reason);
        let lacks = |what: String| HubError::NotAModel {
            repo: repo.to_owned(),
            revision: revision.to_owned(),
            what,
        };

        let api = self.api().map_err(|e| failed(e.to_string()))?;
        let model = api.repo(Repo::with_revision(
            repo.to_owned(),
            RepoType::Model,
            revision.to_owned(),
        ));
        let info = model.info().map_err(|e| failed(e.to_string()))?;
        let has = |name: &str| info.siblings.iter().any(|file| file.rfilename == name);

        let (config, weights) = choose(has).map_err(lacks)?;
        let cached = self.root(repo).join("snapshots").join(&info.sha);
        for name in OPTIONAL.into_iter().filter(|name| !has(name)) {
            let marker = self.absence(repo, &info.sha, name);
            // Without the marker the hub is asked again the next time.
            marker.parent().map(fs::create_dir_all);
            fs::write(marker, "").ok();
        }
        // Weights come last, so that an interrupted download does not look complete.
        let wanted = std::iter::once(config)
            .chain(OPTIONAL.into_iter().filter(|name| has(name)))
            .chain([weights]);
        for name in wanted.filter(|name| !cached.join(name).exists()) {
            alive.sign();
            model
                .download_with_progress(name, Download::new(alive))
                .map_err(|e| failed(format!("`{name}`: {e}")))?;
        }
        self.cached(repo, revision)
            .or_else(|| self.cached(repo, &info.sha))
            .ok_or_else(|| failed("the fetched files are not in the cache".to_owned()))
    }

    fn api(&self) -> Result<Api, ApiError> {
        let mut builder = ApiBuilder::from_cache(Cache::new(self.cache.clone())).with_retries(3);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        if let Some(token) = &self.token {
            builder = builder.with_token(Some(token.clone()));
        }
        builder.build()
    }
}

/// Names of files for a message.
fn quoted(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests;
