//! Adapts the builtin base by every method and prints the tables of `docs/results.md`:
//!
//! ```sh
//! cargo run --example results -- --out runs/results --epochs 4 PATH/kvasir_polyp builtin:endoscopy
//! ```
//!
//! Each method is trained with seeds 41, 42 and 43, in a folder of its own; what is there already is gone on with.

use std::path::PathBuf;

use vlsm::Result;
use vlsm::data::{PromptChoice, Summary};
use vlsm::models::MethodKind;
use vlsm::train::evaluate::{EvalConfig, PromptSet, Row};
use vlsm::train::{Recipe, demo, evaluate, train};
use vlsm::{Segmenter, data::Dataset, data::Split};

const METHODS: [(&str, MethodKind); 5] = [
    ("zero-shot", MethodKind::ZeroShot),
    ("dense", MethodKind::Dense),
    ("shallow", MethodKind::Shallow),
    ("decoder", MethodKind::Decoder),
    ("full", MethodKind::Full),
];
const SEEDS: [u64; 3] = [41, 42, 43];
/// The prompts that are compared: all that can be said, the class alone, nothing.
const PROMPTS: [&str; 3] = ["p6", "p1", "p0"];

struct Options {
    out: PathBuf,
    epochs: usize,
    seeds: usize,
    prompt: String,
    roots: Vec<PathBuf>,
}

fn main() -> Result<()> {
    let Some(options) = options() else {
        eprintln!("usage: results [--out DIR] [--epochs N] [--seeds N] [--prompt p6|p1] DATA...");
        std::process::exit(2);
    };
    for root in &options.roots {
        let data = root.display().to_string();
        let short = data.rsplit(['/', ':']).next().unwrap_or(&data);
        println!("\n{short}\n");
        let prompt = &options.prompt;
        println!(
            "| method | trained | Dice p6 | Dice p1 | Dice p0 | IoU {prompt} | HD95 {prompt} | seconds |"
        );
        println!("|---|---|---|---|---|---|---|---|");
        for (name, kind) in METHODS {
            let seeds: &[u64] = if kind == MethodKind::ZeroShot {
                &SEEDS[..1]
            } else {
                &SEEDS[..options.seeds.min(SEEDS.len())]
            };
            let mut runs = Vec::new();
            for seed in seeds {
                let mut recipe = demo::recipe(kind);
                recipe.data.config.root.clone_from(root);
                recipe.data.config.eval_prompt = Some(PromptChoice::Named(prompt.clone()));
                recipe.trainer.seed = *seed;
                recipe.trainer.epochs = options.epochs;
                recipe.trainer.validate = false;
                runs.push(if kind == MethodKind::ZeroShot {
                    (0, zero_shot(&recipe)?, None)
                } else {
                    let folder = options.out.join(format!("{short}_{name}_{seed}"));
                    let summary = train(&recipe, &folder, true)?;
                    (summary.trainable_parameters, summary.rows, summary.seconds)
                });
            }
            println!("{}", line(name, &runs, prompt));
        }
    }
    Ok(())
}

fn options() -> Option<Options> {
    let mut options = Options {
        out: "runs/results".into(),
        epochs: 4,
        seeds: SEEDS.len(),
        prompt: "p6".into(),
        roots: Vec::new(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--out" => options.out = words.next()?.into(),
            "--epochs" => options.epochs = words.next()?.parse().ok()?,
            "--seeds" => options.seeds = words.next()?.parse().ok()?,
            "--prompt" => options.prompt = words.next()?,
            flag if flag.starts_with("--") => return None,
            root => options.roots.push(root.into()),
        }
    }
    (!options.roots.is_empty()).then_some(options)
}

/// What the base scores as it is.
fn zero_shot(recipe: &Recipe) -> Result<Vec<Row>> {
    let dataset = Dataset::open(&recipe.data.config)?;
    let samples = dataset.require(Split::Test)?;
    let sets = PROMPTS.map(|name| PromptChoice::Named(name.into()));
    let sets = sets.iter().map(|choice| PromptSet::new(choice, samples));
    let sets = sets.collect::<vlsm::train::Result<Vec<_>>>()?;
    let segmenter = Segmenter::from_pretrained(&recipe.model.base)?;
    let (tokenizer, preprocessing) = (segmenter.tokenizer(), segmenter.preprocessing());
    let config = EvalConfig::new(recipe, &dataset, tokenizer, preprocessing);
    Ok(evaluate(segmenter.model(), samples, &sets, &config, |_| {})?.rows)
}

/// A row of the table: means over images, then mean and standard deviation over seeds.
fn line(name: &str, runs: &[(usize, Vec<Row>, Option<f64>)], prompt: &str) -> String {
    let cell = |set: &str, value: fn(&Row) -> f64, digits: usize| {
        let of_seed = runs.iter().map(|(_, rows, _)| {
            let rows = rows.iter().filter(|row| row.set == set);
            Summary::of(rows.map(value)).mean
        });
        let summary = Summary::of(of_seed);
        if runs.len() == 1 {
            format!("{:.digits$}", summary.mean)
        } else {
            format!("{:.digits$} ± {:.digits$}", summary.mean, summary.std)
        }
    };
    let seconds: Option<f64> = runs.iter().map(|(_, _, seconds)| *seconds).sum();
    let seconds = seconds.map_or("-".to_owned(), |s| format!("{:.0}", s / runs.len() as f64));
    format!(
        "| {name} | {} | {} | {} | {} | {} | {} | {seconds} |",
        runs[0].0,
        cell("p6", |row| row.dice, 3),
        cell("p1", |row| row.dice, 3),
        cell("p0", |row| row.dice, 3),
        cell(prompt, |row| row.iou, 3),
        cell(prompt, |row| row.hd95, 1),
    )
}
