//! A recipe as facts for a reader.

use std::path::Path;

use serde::Serialize;
use vlsm_data::Dataset;

use crate::recipe::Recipe;
use crate::text::thousands;

/// A heading of method and data set, such as `Dense adapters (vlc) on kvasir_polyp`.
pub fn title(what: &str, root: &Path) -> String {
    let mut letters = what.chars();
    let first = letters
        .next()
        .map(|letter| letter.to_uppercase().to_string());
    let data = root.file_name().unwrap_or(root.as_os_str());
    let (first, rest) = (first.unwrap_or_default(), letters.as_str());
    format!("{first}{rest} on {}", data.to_string_lossy())
}

/// A recipe as names and values for a report. `base` is the base's name and `image_size` the side of
/// the input, in pixels.
pub fn recipe_facts(
    recipe: &Recipe,
    dataset: &Dataset,
    base: &str,
    image_size: usize,
) -> Vec<(String, String)> {
    let (data, optim, trainer) = (&recipe.data.config, &recipe.optim, &recipe.trainer);
    let method = &recipe.method.config;
    let mut in_words = method.label();
    for (key, value) in method.form() {
        in_words += &format!(", {} {value}", key.replace('_', " "));
    }
    let mut epochs = format!("at most {}", trainer.epochs);
    if let Some(steps) = trainer.max_steps {
        epochs += &format!(" and {} steps", thousands(steps));
    }
    let mut facts = vec![
        ("Base", base.to_owned()),
        ("Method", in_words),
        ("Profile", name(&method.profile())),
        ("Data set", dataset.root.display().to_string()),
        (
            "Images",
            format!(
                "{} training, {} validation, {} test",
                thousands(dataset.train.len()),
                thousands(dataset.val.len()),
                thousands(dataset.test.len())
            ),
        ),
        ("Training prompt", data.prompt.to_string()),
    ];
    if let Some(prompt) = &data.eval_prompt {
        facts.push(("Evaluation prompt", prompt.to_string()));
    }
    facts.extend([
        ("Input", format!("{image_size} × {image_size} pixels")),
        ("Epochs", epochs),
        (
            "Batch",
            match trainer.accumulate {
                1 => trainer.batch_size.to_string(),
                passes => format!("{} × {passes} passes", trainer.batch_size),
            },
        ),
        (
            "Optimiser",
            format!(
                "{}, weight decay {}",
                if optim.muon {
                    "Muon and AdamW"
                } else {
                    "AdamW"
                },
                optim.weight_decay
            ),
        ),
        (
            "Learning rate",
            format!("{}, {}", optim.lr, name(&optim.schedule)),
        ),
        ("Seed", trainer.seed.to_string()),
        ("Device", trainer.device.clone()),
    ]);
    let owned = |(name, value): (&str, String)| (name.to_owned(), value);
    facts.into_iter().map(owned).collect()
}

/// The name that a recipe gives a value.
fn name(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}
