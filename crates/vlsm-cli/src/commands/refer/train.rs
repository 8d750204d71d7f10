//! `vlsm refer train`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use vlsm_language::is_builtin;
use vlsm_refer::{Frame, TrainingExample, read_queries};
use vlsm_train::language::{
    LanguageExample, LanguageRecipe, LanguageSummary, Tuning, train_language,
};

use super::found::Finder;
use crate::commands::shared::to_json;
use crate::output::{notice, print, thousands};
use crate::stop;
use crate::terminal::Terminal;

/// Fine-tune a language model to choose among candidates, as LLM-wrapper does.
///
/// The examples are those of `vlsm refer chats`: each prompt with the number of the right candidate.
/// The loss is that of the answer alone. By default a LoRA of rank 128 on all linear layers is trained
/// in one epoch, as published; --set and --recipe change the settings, which docs/llm_wrapper.md
/// lists. `method=full` trains the whole model, `method=scratch` one from random weights.
///
/// Everything is written to the run's folder: recipe.toml with all defaults filled in, metrics.jsonl,
/// checkpoint/, summary.json, and the LoRA in peft's format or the whole model in Transformers'.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  vlsm refer train queries.jsonl --llm gpt-neo-125m -o runs/neo
  vlsm refer train queries.jsonl --llm gpt-neo-125m -o runs/neo --resume
  vlsm refer train queries.jsonl --base builtin:tiny --llm smollm2-135m \\
      --set lora.rank=16 --set lora.alpha=32 --set optim.lr=1e-4 -o runs/r16")]
pub(crate) struct Args {
    /// The file of queries, as in `vlsm refer predict`, each with `truth_box` or `truth_mask`.
    queries: PathBuf,
    /// The language model, a folder in Hugging Face's format [default: that of the recipe].
    #[arg(long, value_name = "FOLDER", required_unless_present = "recipe")]
    llm: Option<PathBuf>,
    /// The run's folder.
    #[arg(short = 'o', long = "output", alias = "out", value_name = "RUN")]
    out: PathBuf,
    /// A file with settings, TOML.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Set a key of the recipe, such as lora.rank=16; can be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    finder: Finder,
    /// What surrounds the prompt: a published frame, llama3, mixtral, gemma or plain.
    #[arg(long, value_name = "NAME", default_value = "plain")]
    frame: Frame,
    /// Continue a run that was interrupted.
    #[arg(long)]
    resume: bool,
    /// Print the summary as one JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// Examples as the training takes them.
pub(in crate::commands) fn language_examples(
    examples: Vec<TrainingExample>,
) -> Vec<LanguageExample> {
    let examples = examples.into_iter().map(|example| LanguageExample {
        prompt: example.prompt,
        answer: example.answer,
    });
    examples.collect()
}

impl Args {
    pub(super) fn run(self) -> Result<ExitCode> {
        if self.frame == Frame::Chat {
            bail!(
                "--frame chat is added by a server; a model in the program takes another, such as plain"
            );
        }
        let mut recipe = match &self.recipe {
            Some(file) => LanguageRecipe::read(file, &self.set)?,
            None => LanguageRecipe::parse("", &self.set).map_err(anyhow::Error::msg)?,
        };
        if let Some(llm) = &self.llm {
            recipe.llm = llm.clone();
        }
        if !recipe.llm.is_dir() && !is_builtin(&recipe.llm) {
            bail!(
                "--llm {}: there is no such folder; name one in Hugging Face's format",
                recipe.llm.display()
            );
        }
        if let Some(device) = &self.finder.device {
            recipe.device.clone_from(device);
        }
        let queries = read_queries(&self.queries)?;
        let (examples, used) = self.finder.examples(&queries, self.frame)?;
        notice(&format!(
            "{} examples of {used} of {} queries",
            thousands(examples.len()),
            thousands(queries.len())
        ));
        let examples = language_examples(examples);
        let train = || {
            let observer = &mut Terminal::new();
            train_language(&recipe, &examples, &self.out, self.resume, observer)
        };
        let summary = match stop::stoppable(Some("--resume"), train)? {
            Ok(summary) => summary,
            Err(code) => return Ok(code),
        };
        print(&match self.json {
            true => to_json(&summary)?,
            false => self.report(&summary, &recipe),
        })?;
        Ok(ExitCode::SUCCESS)
    }

    fn report(&self, summary: &LanguageSummary, recipe: &LanguageRecipe) -> String {
        let out = self.out.display();
        let llm = match recipe.method {
            Tuning::Lora => format!("{} --llm-adapter {out}", recipe.llm.display()),
            Tuning::Full | Tuning::Scratch => out.to_string(),
        };
        format!(
            "{} examples, {} steps in {:.0} s; {} trained parameters\nuse it  vlsm refer predict QUERIES --llm {llm} -o DIR\n",
            thousands(summary.examples),
            thousands(summary.steps),
            summary.seconds,
            thousands(summary.trained_parameters)
        )
    }
}
