//! `vlsm refer predict`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use vlsm_language::{EndpointConfig, LanguageModel, is_builtin};
use vlsm_refer::{
    Answers, Backend, Candidate, Constraint, Frame, Local, Remote, read_queries, resolve,
};

use super::found::Finder;
use super::results::Results;
use crate::commands::shared::make_folder;
use crate::output::{notice, print, progress_bar};

/// Ask a language model which of the objects that were found in an image an expression means.
///
/// LLM-wrapper (arXiv 2409.11919): the language model reads the candidates' boxes, labels and scores,
/// and answers with the number of one. It is reached by OpenAI's HTTP interface, which llama.cpp,
/// vLLM, mistral.rs and Ollama speak; small ones of Llama's or GPT-Neo's layout run in the program.
/// If the answer has no index, the detector's own answer is taken, as published.
///
/// Each line of QUERIES is a JSON object. `expression` is required. `candidates` are what a detector
/// found: [{"box": [left, top, right, bottom], "label": "cup", "score": 0.9}, ...]. Without them --base
/// looks for `prompts` in the `image`, or for the expression, and the connected parts of its masks are
/// the candidates. `fallback` is the detector's own answer, a box. `truth_box` or `truth_mask`, a
/// file, is the object, to score with. Files are relative to QUERIES.
///
/// Writes results.jsonl (the answer to each query), summary.json (P@1: the share of answers with an
/// IoU above 0.5, mean IoU, Dice of masks, the best candidates' P@1, shares of fall-backs, tokens) and,
/// where parts of masks are chosen, masks/N.png. Answers of the language model are kept in
/// answers.jsonl, so that an interrupted call goes on when it is run again.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vlsm refer predict queries.jsonl --endpoint http://localhost:8080/v1 \\
      --llm llama-3-8b -o out
  vlsm refer predict queries.jsonl --base builtin:tiny --adapter runs/scans \\
      --endpoint http://localhost:11434/v1 --llm llama3 -o out
  vlsm refer predict queries.jsonl --llm gpt-neo-125m -o out
  vlsm refer predict scenes/test.jsonl --base builtin:tiny \\
      --llm builtin:tiny -o out")]
pub(crate) struct Args {
    /// The file of queries.
    queries: PathBuf,
    /// Address of the language model's server, up to and with the version.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// The language model's name on the server; without --endpoint a folder in Hugging Face's format, or
    /// builtin:tiny, which was trained on drawn scenes.
    #[arg(long, value_name = "MODEL")]
    llm: String,
    /// A LoRA for the folder, in peft's format.
    #[arg(long, value_name = "FOLDER", conflicts_with = "endpoint")]
    llm_adapter: Option<PathBuf>,
    /// The folder to write the results to.
    #[arg(short = 'o', long = "output", value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    finder: Finder,
    /// What surrounds the prompt: chat (the server's own frame), or a published one, llama3, mixtral,
    /// gemma or plain [default: chat in a server, else plain].
    #[arg(long, value_name = "NAME")]
    frame: Option<Frame>,
    /// How the server makes the model answer with an index only: none, json (OpenAI, vLLM, Ollama,
    /// llama.cpp), grammar (llama.cpp), choice (vLLM) or regex (mistral.rs).
    #[arg(
        long,
        value_name = "WAY",
        default_value = "none",
        requires = "endpoint"
    )]
    constrain: Constraint,
    /// List the candidates in another order, drawn with this seed.
    #[arg(long, value_name = "SEED")]
    shuffle: Option<u32>,
    /// Requests to a server at a time.
    #[arg(long, value_name = "N", default_value_t = 4)]
    concurrency: usize,
    /// The longest time for a request, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
    /// The environment variable with the server's key.
    #[arg(long, value_name = "NAME", default_value = "OPENAI_API_KEY")]
    key_variable: String,
    /// Overwrite the results of other queries.
    #[arg(long)]
    force: bool,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        let queries = read_queries(&self.queries)?;
        let out = &self.out;
        if self.concurrency == 0 {
            bail!("--concurrency is 0; at least one request must be under way");
        }
        let backend = self.backend()?;
        make_folder(out)?;
        let results = Results::open(out, &self.queries, self.force)?;
        let found = self.finder.find(&queries)?;
        let questions: Vec<(&str, &[Candidate])> = queries
            .iter()
            .zip(&found)
            .map(|(query, found)| (query.expression.as_str(), &found.candidates[..]))
            .collect();
        let answers = Answers::open(&out.join("answers.jsonl"))?;
        let kept = answers.len();
        if kept > 0 {
            notice(&format!("{kept} answers are kept from before"));
        }
        let bar = progress_bar("asking", questions.len());
        let progress = |done: usize| bar.set_position(done as u64);
        let choices = resolve(
            &questions,
            &*backend,
            &answers,
            // A model in the program uses all cores for each prompt.
            self.endpoint.as_ref().map_or(1, |_| self.concurrency),
            self.shuffle,
            progress,
        );
        drop(bar);
        let choices = choices.with_context(|| {
            let kept = answers.len();
            format!(
                "{kept} answers are kept in `{}`; run the same command again to go on",
                out.display()
            )
        })?;
        let summary = results.write(&queries, &found, &choices)?;
        print(&summary.shown(self.json)?)?;
        Ok(ExitCode::SUCCESS)
    }

    /// The language model.
    fn backend(&self) -> Result<Box<dyn Backend>> {
        let llm = &self.llm;
        let Some(url) = &self.endpoint else {
            let folder = Path::new(llm);
            if !folder.is_dir() && !is_builtin(folder) {
                bail!(
                    "--llm {llm}: there is no such folder; name one, or the server of that model with --endpoint"
                );
            }
            let device = vlsm_models::device(self.finder.device())?;
            let model = LanguageModel::load(folder, self.llm_adapter.as_deref(), &device)?;
            return Ok(Box::new(Local::new(
                model,
                self.frame.unwrap_or(Frame::Plain),
            )?));
        };
        let config = EndpointConfig {
            key: std::env::var(&self.key_variable).ok(),
            timeout: Duration::from_secs(self.timeout.max(1)),
            ..EndpointConfig::new(url, llm)
        };
        Ok(Box::new(Remote::new(
            config,
            self.frame.unwrap_or_default(),
            self.constrain,
        )?))
    }
}
