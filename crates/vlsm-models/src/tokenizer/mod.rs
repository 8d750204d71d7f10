//! CLIP's byte-level BPE tokenizer.
//!
//! The reference is the tokenizer published with CLIP (`clip/simple_tokenizer.py`): the text is cleaned (see `clean.rs`),
//! lowercased, split into words by a regular expression, and each word's UTF-8 bytes are merged by byte pair encoding
//! with `</w>` marking the end of a word. The vocabulary comes from a model folder, or from the copy inside the crate
//! `instant-clip-tokenizer`; either way the same code, Hugging Face's `tokenizers`, does the encoding.

mod clean;
mod embedded;
pub mod wordpiece;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::de::IgnoredAny;
use thiserror::Error;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::{
    Lowercase, NFC, Replace, Sequence as NormalizerSequence, replace::ReplacePattern,
};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizerSequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{AddedToken, Tokenizer as Pipeline};
use vlsm_image::catch_panic;
use xxhash_rust::xxh3::xxh3_64;

/// Text of the token that opens every CLIP sequence.
pub const START_OF_TEXT: &str = "<|startoftext|>";
/// Text of the token that closes every CLIP sequence; CLIP's text embedding is read there.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// Suffix of a BPE symbol that ends a word.
const END_OF_WORD: &str = "</w>";

/// How CLIP splits text into words: English contractions, runs of letters, single digits, runs of anything else.
const WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// A token string to id table, ids counted from 0.
type Vocabulary = HashMap<String, u32>;
/// Pairs of symbols to merge, in order of priority.
type Merges = Vec<(String, String)>;

/// What can go wrong with a tokenizer.
#[derive(Debug, Error)]
pub enum TokenizerError {
    /// A tokenizer file exists but cannot be read.
    #[error("tokenizer file `{}` cannot be read: {source}; check its permissions or fetch it again", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A tokenizer file does not have the content that its name implies.
    #[error("tokenizer file `{}` is malformed: {reason}; fetch the model's tokenizer files again, or remove them to use CLIP's own vocabulary", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        reason: String,
    },
    /// Only one of `vocab.json` and `merges.txt` exists.
    #[error("tokenizer file `{}` is missing next to `{}`; fetch it too, or remove both to use CLIP's own vocabulary", missing.display(), present.display())]
    Incomplete {
        /// The missing file.
        missing: PathBuf,
        /// The existing file.
        present: PathBuf,
    },
    /// The vocabulary has no start or end token, so it is not CLIP's kind.
    #[error("tokenizer file `{}` has no token `{token}`, so it is not a CLIP tokenizer (nor a BERT's); give a CLIP or CLIPSeg model's folder", path.display())]
    MissingToken {
        /// The vocabulary's file.
        path: PathBuf,
        /// The token it lacks.
        token: &'static str,
    },
    /// The vocabulary inside `instant-clip-tokenizer` is not CLIP's as known to this code.
    #[error(
        "the built-in CLIP vocabulary cannot be used: {0}; this is a fault of the build, please report it"
    )]
    Embedded(String),
    /// A text could not be encoded; only an unusual `tokenizer.json` can cause this.
    #[error(
        "prompt {text:?} cannot be encoded: {reason}; check the model folder's `tokenizer.json`"
    )]
    Encode {
        /// The prompt.
        text: String,
        /// What the tokenizer said.
        reason: String,
    },
}

/// CLIP's tokenizer, or a BERT's: text to token ids. A `tokenizer.json` that has `[CLS]` and `[SEP]` is a BERT's: those
/// stand for start and end, and the text is not cleaned. Cloning is cheap; clones share the vocabulary.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Pipeline>,
    start: u32,
    end: u32,
    clean: bool,
    /// Digests of the prompts whose cutting was reported.
    cut: Arc<Mutex<HashSet<u64>>>,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocabulary", &self.vocabulary_size())
            .field("start", &self.start)
            .field("end", &self.end)
            .field("clean", &self.clean)
            .finish()
    }
}

impl Tokenizer {
    /// Reads the tokenizer of a model folder in Hugging Face format: `tokenizer.json` if there, else `vocab.json` with
    /// `merges.txt`, else `None`.
    ///
    /// # Errors
    /// A file that is unreadable, malformed, lacks its partner, or has no start or end token; each names the file.
    pub fn from_folder(dir: &Path) -> Result<Option<Self>, TokenizerError> {
        let whole = dir.join("tokenizer.json");
        let (vocab, merges) = (dir.join("vocab.json"), dir.join("merges.txt"));
        if whole.is_file() {
            return Self::from_tokenizer_json(&whole).map(Some);
        }
        match (vocab.is_file(), merges.is_file()) {
            (true, true) => Self::from_vocab_and_merges(&vocab, &merges).map(Some),
            (false, false) => Ok(None),
            (true, false) => Err(TokenizerError::Incomplete {
                missing: merges,
                present: vocab,
            }),
            (false, true) => Err(TokenizerError::Incomplete {
                missing: vocab,
                present: merges,
            }),
        }
    }

    /// CLIP's tokenizer with the published vocabulary of 49408 tokens, which the program carries.
    ///
    /// # Errors
    /// Only when the crate that carries the vocabulary has changed beyond recognition.
    pub fn embedded() -> Result<Self, TokenizerError> {
        // Made once: finding the 48,894 merges takes longer than loading a small base.
        static EMBEDDED: OnceLock<Tokenizer> = OnceLock::new();
        if let Some(tokenizer) = EMBEDDED.get() {
            return Ok(tokenizer.clone());
        }
        let (vocabulary, merges) = embedded::vocabulary()?;
        let inner = clip_pipeline(vocabulary, merges)
            .map_err(|e| TokenizerError::Embedded(e.to_string()))?;
        let tokenizer = Self::new(inner, |token| {
            TokenizerError::Embedded(format!("it has no token `{token}`"))
        })?;
        Ok(EMBEDDED.get_or_init(|| tokenizer).clone())
    }

    /// Turns the cleaning of the text before encoding on (the default) or off.
    ///
    /// The tokenizer published with CLIP repairs its input first: HTML entities are decoded, curly quotes made straight,
    /// ligatures and full-width forms taken apart. Hugging Face's `CLIPTokenizerFast` leaves this out; without cleaning
    /// the ids equal that one's.
    #[must_use]
    pub fn with_cleaning(mut self, clean: bool) -> Self {
        self.clean = clean;
        self
    }

    /// Encodes a text: start token, the text's tokens, end token; at most `context_length` ids, not padded. A longer text is
    /// cut, which gives a warning; its last id is still the end token.
    ///
    /// # Errors
    /// A folder's own `tokenizer.json` may describe something that fails on a text; CLIP's tokenizer takes any text.
    pub fn encode(&self, text: &str, context_length: usize) -> Result<Vec<u32>, TokenizerError> {
        let cleaned = if self.clean {
            clean::clean(text)
        } else {
            text.to_owned()
        };
        let fault = |reason: String| TokenizerError::Encode {
            text: text.to_owned(),
            reason,
        };
        let encoding = catch_panic(|| self.inner.encode_fast(cleaned, false))
            .map_err(fault)?
            .map_err(|error| fault(error.to_string()))?;
        let mut ids = Vec::with_capacity(encoding.len() + 2);
        ids.push(self.start);
        ids.extend_from_slice(encoding.get_ids());
        ids.push(self.end);
        if ids.len() > context_length {
            self.warn_of_cut(text, ids.len(), context_length);
            ids.truncate(context_length);
            if let Some(last) = ids.last_mut() {
                *last = self.end;
            }
        }
        Ok(ids)
    }

    /// Warns that a prompt is cut, once per prompt and not of more than a few prompts.
    fn warn_of_cut(&self, text: &str, tokens: usize, context_length: usize) {
        const MOST: usize = 10;
        // A panic elsewhere cannot leave the set in a bad state.
        let mut cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        if cut.len() > MOST || !cut.insert(xxh3_64(text.as_bytes())) {
            return;
        }
        if cut.len() > MOST {
            tracing::warn!("more prompts are too long; they are not named");
            return;
        }
        let start: String = text.chars().take(60).collect();
        tracing::warn!(
            "prompt {start:?}... has {tokens} tokens, of which the model reads {context_length}; what comes after them has \
             no effect: shorten the prompt"
        );
    }

    /// Id of the start token (49406 in CLIP's vocabulary).
    #[must_use]
    pub fn start_id(&self) -> u32 {
        self.start
    }

    /// Id of the end token (49407 in CLIP's vocabulary), with which CLIP also pads.
    #[must_use]
    pub fn end_id(&self) -> u32 {
        self.end
    }

    /// Number of tokens known, the start and end tokens included.
    #[must_use]
    pub fn vocabulary_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    fn from_tokenizer_json(path: &Path) -> Result<Self, TokenizerError> {
        Self::from_json(&read(path)?, path)
    }

    /// The tokenizer of the content of a `tokenizer.json`; `path` is named in errors.
    pub(crate) fn from_json(content: &[u8], path: &Path) -> Result<Self, TokenizerError> {
        let malformed = |reason: String| TokenizerError::Malformed {
            path: path.to_owned(),
            reason,
        };
        // `tokenizers` panics on some faults, for one on JSON that is broken in its decoder.
        serde_json::from_slice::<IgnoredAny>(content).map_err(|e| malformed(e.to_string()))?;
        let mut inner = catch_panic(|| Pipeline::from_bytes(content))
            .map_err(&malformed)?
            .map_err(|e| malformed(e.to_string()))?;
        // The caller cuts and pads, so the file's settings for both are ignored.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|e| malformed(e.to_string()))?;
        Self::new(inner, |token| TokenizerError::MissingToken {
            path: path.to_owned(),
            token,
        })
    }

    fn from_vocab_and_merges(vocab: &Path, merges: &Path) -> Result<Self, TokenizerError> {
        let malformed = |path: &Path, reason: String| TokenizerError::Malformed {
            path: path.to_owned(),
            reason,
        };
        let vocabulary: Vocabulary =
            serde_json::from_slice(&read(vocab)?).map_err(|e| malformed(vocab, e.to_string()))?;
        for token in [START_OF_TEXT, END_OF_TEXT] {
            if !vocabulary.contains_key(token) {
                return Err(TokenizerError::MissingToken {
                    path: vocab.to_owned(),
                    token,
                });
            }
        }
        let text =
            String::from_utf8(read(merges)?).map_err(|e| malformed(merges, e.to_string()))?;
        let pairs = parse_merges(&text, &vocabulary).map_err(|reason| malformed(merges, reason))?;
        let inner =
            clip_pipeline(vocabulary, pairs).map_err(|e| malformed(merges, e.to_string()))?;
        Self::new(inner, |token| TokenizerError::MissingToken {
            path: vocab.to_owned(),
            token,
        })
    }

    fn new(
        inner: Pipeline,
        missing: impl Fn(&'static str) -> TokenizerError,
    ) -> Result<Self, TokenizerError> {
        let [bert_start, bert_end] = wordpiece::ENDS.map(|token| inner.token_to_id(token));
        if let (Some(start), Some(end)) = (bert_start, bert_end) {
            return Ok(Self {
                inner: Arc::new(inner),
                start,
                end,
                clean: false,
                cut: Arc::default(),
            });
        }
        let id = |token| inner.token_to_id(token).ok_or_else(|| missing(token));
        let (start, end) = (id(START_OF_TEXT)?, id(END_OF_TEXT)?);
        Ok(Self {
            inner: Arc::new(inner),
            start,
            end,
            clean: true,
            cut: Arc::default(),
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TokenizerError> {
    // Parsed, a file takes over ten times as much memory; those of the largest vocabularies have 20 MB.
    const MOST_BYTES: u64 = 64 << 20;
    let content = vlsm_image::fs::read_up_to(path, MOST_BYTES);
    content.map_err(|source| TokenizerError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Reads `merges.txt`: a version line, then two symbols a line, in order of priority.
fn parse_merges(text: &str, vocabulary: &Vocabulary) -> Result<Merges, String> {
    let mut merges = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() || (number == 0 && line.starts_with("#version")) {
            continue;
        }
        let Some((a, b)) = line.trim_end().split_once(' ') else {
            return Err(format!(
                "line {} is not two symbols with a space between them",
                number + 1
            ));
        };
        if let Some(unknown) = [a, b, &format!("{a}{b}")]
            .into_iter()
            .find(|s| !vocabulary.contains_key(*s))
        {
            return Err(format!(
                "line {} uses `{unknown}`, which `vocab.json` does not have",
                number + 1
            ));
        }
        merges.push((a.to_owned(), b.to_owned()));
    }
    Ok(merges)
}

/// CLIP's pipeline over a vocabulary, as Hugging Face's converter from `CLIPTokenizer` to `CLIPTokenizerFast` builds it.
fn clip_pipeline(vocabulary: Vocabulary, merges: Merges) -> tokenizers::Result<Pipeline> {
    let bpe = BPE::builder()
        .vocab_and_merges(
            vocabulary.into_iter().collect::<ahash::AHashMap<_, _>>(),
            merges,
        )
        .unk_token(END_OF_TEXT.to_owned())
        .end_of_word_suffix(END_OF_WORD.to_owned())
        .build()?;
    let mut tokenizer = Pipeline::new(bpe);
    tokenizer.with_normalizer(Some(NormalizerSequence::new(vec![
        NFC.into(),
        Replace::new(ReplacePattern::Regex(r"\s+".to_owned()), " ")?.into(),
        Lowercase.into(),
    ])))?;
    tokenizer.with_pre_tokenizer(Some(PreTokenizerSequence::new(vec![
        Split::new(
            SplitPattern::Regex(WORDS.to_owned()),
            SplitDelimiterBehavior::Removed,
            true,
        )?
        .into(),
        ByteLevel::new(false, true, false).into(),
    ])));
    let special =
        [START_OF_TEXT, END_OF_TEXT].map(|token| AddedToken::from(token, true).normalized(true));
    tokenizer.add_special_tokens(special)?;
    Ok(tokenizer)
}
