//! The texts of prompts.

use anyhow::{Result, bail};

use crate::output::notice;

/// The texts of `--prompt`.
///
/// # Errors
/// If one is the name of a data set's prompts, which mean nothing without the data set.
pub(super) fn words(prompts: &[String]) -> Result<Vec<String>> {
    let mut words = Vec::new();
    for prompt in prompts {
        let is_name = |text: &str| {
            let digits = text.strip_prefix(['p', 'P']).unwrap_or_default();
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        };
        if is_name(prompt) || prompt == "random" {
            bail!(
                "--prompt {prompt}: names prompts of a data set, as for `vlsm eval`, but here there are only images; write \
                 the words to look for, or `text:{prompt}` if these are the words"
            );
        }
        let text = prompt.strip_prefix("text:").unwrap_or(prompt).to_owned();
        if text.trim().is_empty() {
            notice("note: a prompt is empty; its mask depends on the image alone");
        }
        words.push(text);
    }
    Ok(words)
}
