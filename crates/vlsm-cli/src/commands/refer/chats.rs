//! `vlsm refer chats`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use vlsm_image::write_atomic_bytes;
use vlsm_refer::{Frame, read_queries};

use super::found::Finder;
use crate::output::print;

/// Write the training set as chats, for other programs that train language models.
///
/// A query is used if it has two candidates or more, of which one overlaps the object by more than
/// half: in its own order and in the published shuffled ones. QUERIES is as in `vlsm refer predict`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vlsm refer chats queries.jsonl -o chats.jsonl
  vlsm refer chats queries.jsonl --base builtin:tiny -o chats.jsonl")]
pub(crate) struct Args {
    /// The file of queries.
    queries: PathBuf,
    /// The file to write.
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    finder: Finder,
    /// What surrounds the prompt: chat (nothing), or a published frame, llama3, mixtral, gemma or
    /// plain.
    #[arg(long, value_name = "NAME", default_value = "chat")]
    frame: Frame,
    /// Overwrite the file.
    #[arg(long)]
    force: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let queries = read_queries(&self.queries)?;
        if self.out.exists() && !self.force {
            bail!(
                "`{}` exists; choose another file or add --force",
                self.out.display()
            );
        }
        let (examples, used) = self.finder.examples(&queries, self.frame)?;
        let mut lines = String::new();
        for example in &examples {
            let chat = serde_json::json!({ "messages": [
                { "role": "user", "content": example.prompt },
                { "role": "assistant", "content": example.answer },
            ] });
            lines += &format!("{chat}\n");
        }
        write_atomic_bytes(&self.out, lines.as_bytes())?;
        print(&format!(
            "{} chats of {used} of {} queries are in {}\n",
            examples.len(),
            queries.len(),
            self.out.display()
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}
