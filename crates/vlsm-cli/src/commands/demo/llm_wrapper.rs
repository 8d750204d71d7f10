//! `vlsm demo --system llm-wrapper`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use vlsm_data::GenerateConfig;
use vlsm_image::{Mask, fit_image, overlay, read_image, read_mask, resize_mask};
use vlsm_language::{BUILTIN, LanguageModel};
use vlsm_refer::{Answers, Candidate, Choice, Frame, Local, Outcome, Query, read_queries, resolve};
use vlsm_synth::write_relations;
use vlsm_train::language::{LanguageRecipe, train_language};
use vlsm_train::report::{SystemCase, SystemReport};

use super::write_report;
use crate::commands::refer::{Finder, Found, case, language_examples};
use crate::output::{notice, thousands};
use crate::stop;
use crate::terminal::Terminal;

/// The segmenter.
const BASE: &str = "builtin:tiny";
/// The longer side of a picture on the page, in pixels.
const PICTURE: usize = 256;
/// Expressions that the page shows.
const SHOWN: usize = 8;

/// The demo's settings.
pub(super) struct LlmWrapperDemo {
    pub(super) quick: bool,
    pub(super) seed: u64,
    pub(super) out: PathBuf,
}

/// What a way of choosing reaches.
struct Row {
    name: &'static str,
    /// For each query the IoU of its answer.
    ious: Vec<f64>,
    fallbacks: Option<usize>,
}

impl LlmWrapperDemo {
    /// Runs the demo; the text to print, or an exit code if it was stopped.
    pub(super) fn run(&self) -> Result<std::result::Result<String, std::process::ExitCode>> {
        let scenes = self.scenes()?;
        let finder = Finder::of(BASE);
        let queries = read_queries(&scenes.join("test.jsonl"))?;
        notice("looking for candidates in test images");
        let found = finder.find(&queries)?;

        let plain = self.choose(&queries, &found, None, None)?;
        let shuffled = self.choose(&queries, &found, None, Some(2))?;
        let training = read_queries(&scenes.join("val.jsonl"))?;
        notice("looking for candidates in training images");
        let (examples, used) = finder.examples(&training, Frame::Plain)?;
        let run = self.out.join("lora");
        let recipe = self.recipe()?;
        let train = || {
            let examples = language_examples(examples);
            train_language(&recipe, &examples, &run, true, &mut Terminal::new())
        };
        let summary = match stop::stoppable(None, train)? {
            Ok(summary) => summary,
            Err(code) => return Ok(Err(code)),
        };
        let tuned = self.choose(&queries, &found, Some(&run), None)?;

        let cases = |choices: &[Choice]| -> Result<Vec<_>> {
            let all = queries.iter().zip(&found).zip(choices);
            let cases = all.map(|((query, found), choice)| {
                case(query, found, choice)?.context("a drawn query has no object")
            });
            cases.collect()
        };
        let row = |name, choices: &[Choice]| -> Result<Row> {
            let fallback = |choice: &&Choice| {
                use Outcome::{NoDigits, OutOfRange, Refused};
                matches!(choice.outcome, NoDigits | OutOfRange | Refused)
            };
            Ok(Row {
                name,
                ious: cases(choices)?.iter().map(|case| case.iou).collect(),
                fallbacks: Some(choices.iter().filter(fallback).count()),
            })
        };
        let first = cases(&plain)?;
        let alone = first.iter().map(|case| case.own_iou.unwrap_or_default());
        let rows = [
            Row {
                name: "segmenter's own mask",
                ious: alone.collect(),
                fallbacks: None,
            },
            row("language model", &plain)?,
            row("the same, other orders", &shuffled)?,
            row("with a LoRA for this segmenter", &tuned)?,
            Row {
                name: "best candidates",
                ious: first.iter().map(|case| case.oracle_iou).collect(),
                fallbacks: None,
            },
        ];
        let same = plain.iter().zip(&shuffled);
        let same = same.filter(|(a, b)| a.index == b.index).count();
        let cells = rows.each_ref().map(Row::cells).to_vec();
        let notes = [
            format!(
                "{} expressions about {} drawn scenes, each true of one object. {BASE} looks for their noun phrases, and the \
                 connected parts of its masks are the candidates.",
                queries.len(),
                self.images()[1]
            ),
            format!(
                "The language model {BUILTIN} reads the candidates' boxes, labels and scores, and no pixels. In other orders of the \
                 same candidates it chooses the same object for {:.0} % of the expressions.",
                100.0 * same as f64 / queries.len().max(1) as f64
            ),
            format!(
                "The LoRA was trained in {:.0} s on {} prompts about {used} expressions, with candidates of the same segmenter in \
                 other scenes.",
                summary.seconds,
                thousands(summary.examples)
            ),
        ];
        let header = ["choice", "P@1", "mean IoU", "fall-backs"];
        let report = SystemReport {
            title: "A language model chooses among masks".into(),
            lead: format!(
                "The segmenter alone answers {} of expressions with relations by the right object. With a language model that reads \
                 what it found: {}.",
                cells[0][1], cells[1][1]
            ),
            header: header.map(str::to_owned).to_vec(),
            rows: cells,
            heading: "Expressions".into(),
            cases: shown(&queries, &found, &tuned)?,
            notes: notes.to_vec(),
        };
        Ok(Ok(write_report(&report, &self.out)?))
    }

    /// Scenes to train on and to test with.
    fn images(&self) -> [usize; 2] {
        match self.quick {
            true => [24, 12],
            false => [150, 60],
        }
    }

    fn scenes(&self) -> Result<PathBuf> {
        let folder = self.out.join("scenes");
        let [val, test] = self.images();
        if !folder.exists() {
            let config = GenerateConfig {
                seed: self.seed,
                train: 0,
                val,
                test,
                ..GenerateConfig::default()
            };
            write_relations(&config, &folder, || {})?;
        }
        Ok(folder)
    }

    fn recipe(&self) -> Result<LanguageRecipe> {
        let settings = [
            format!("llm=\"{BUILTIN}\""),
            format!("seed={}", self.seed),
            "batch_size=16".into(),
            "epochs=2".into(),
            "lora.rank=16".into(),
            "lora.alpha=32".into(),
            "optim.lr=1e-3".into(),
        ];
        LanguageRecipe::parse("", &settings).map_err(anyhow::Error::msg)
    }

    fn choose(
        &self,
        queries: &[Query],
        found: &[Found],
        adapter: Option<&Path>,
        order: Option<u32>,
    ) -> Result<Vec<Choice>> {
        let device = vlsm_models::device("cpu")?;
        let model = LanguageModel::load(BUILTIN.as_ref(), adapter, &device)?;
        let backend = Local::new(model, Frame::Plain)?;
        let questions: Vec<(&str, &[Candidate])> = queries
            .iter()
            .zip(found)
            .map(|(query, found)| (query.expression.as_str(), &found.candidates[..]))
            .collect();
        let answers = Answers::open(&self.out.join("answers.jsonl"))?;
        Ok(resolve(&questions, &backend, &answers, 1, order, |_| {})?)
    }
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let count = self.ious.len().max(1) as f64;
        let right = self.ious.iter().filter(|iou| **iou > 0.5).count() as f64;
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let fallbacks = self.fallbacks.map(|some| percent(some as f64 / count));
        vec![
            self.name.to_owned(),
            percent(right / count),
            percent(self.ious.iter().sum::<f64>() / count),
            fallbacks.unwrap_or("-".into()),
        ]
    }
}

/// The first expressions, of one scene each.
fn shown(queries: &[Query], found: &[Found], choices: &[Choice]) -> Result<Vec<SystemCase>> {
    let mut cases: Vec<SystemCase> = Vec::new();
    let mut last = None;
    for ((query, found), choice) in queries.iter().zip(found).zip(choices) {
        let (Some(image), Some(truth)) = (&query.image, &query.truth_mask) else {
            continue;
        };
        if cases.len() == SHOWN || last == Some(image) {
            continue;
        }
        last = Some(image);
        let mask = |index| found.answer(index).and_then(|answer| answer.mask);
        let image = fit_image(&read_image(image)?, PICTURE);
        let masked = |name: &str, mask: Option<Mask>| {
            let picture = match mask {
                Some(mask) => overlay(&image, &resize_mask(&mask, image.width, image.height)),
                None => image.clone(),
            };
            (name.to_owned(), picture)
        };
        cases.push(SystemCase {
            title: format!("“{}”", query.expression),
            pictures: vec![
                ("image".into(), image.clone()),
                masked("the object", Some(read_mask(truth)?)),
                masked("segmenter alone", mask(None)),
                masked("chosen", mask(choice.index)),
            ],
        });
    }
    Ok(cases)
}
