//! Errors in finding a base.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// An error in finding a base.
#[derive(Debug, Error)]
pub enum HubError {
    /// There is no such folder, and the name is not of the form the hub uses.
    #[error(
        "base `{name}` is neither a folder nor a hub name; give a model's folder, or `organisation/name` or `organisation/name@revision`"
    )]
    NoSuchBase {
        /// The name as given.
        name: String,
    },
    /// A model folder lacks a file.
    #[error("base folder `{}` has no {what}; copy it there from where the model came from", folder.display())]
    Incomplete {
        /// The folder.
        folder: PathBuf,
        /// The missing file or files.
        what: String,
    },
    /// The repository is not (wholly) in the cache and no request may be made.
    #[error("base `{repo}` at revision `{revision}` is not complete in the cache `{}` and HF_HUB_OFFLINE forbids fetching it; unset HF_HUB_OFFLINE, or copy the model's folder here and give its path", cache.display())]
    Offline {
        /// `organisation/name`.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
        /// The cache folder looked in.
        cache: PathBuf,
    },
    /// The repository on the hub lacks a file.
    #[error(
        "repository `{repo}` at revision `{revision}` on the hub has no {what}; name another model or revision"
    )]
    NotAModel {
        /// `organisation/name`.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
        /// The missing file or files.
        what: String,
    },
    /// The repository is not in the cache and cannot be fetched.
    #[error("base `{repo}` at revision `{revision}` is not in the cache `{}` and cannot be fetched: {reason}; check the name (there is no folder of that name either) and the network, or give a model's folder", cache.display())]
    Fetch {
        /// `organisation/name`.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
        /// The cache folder looked in.
        cache: PathBuf,
        /// Why the request failed.
        reason: String,
    },
    /// The environment does not determine a cache folder.
    #[error("there is no home folder to keep the hub's cache in; set HF_HOME to a folder")]
    NoCacheFolder,
    /// The cache folder's path cannot be made absolute.
    #[error("the hub's cache folder `{}` cannot be used: {source}; set HF_HOME to another folder", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}
