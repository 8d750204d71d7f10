//! Scenes with expressions that relate objects to others, as queries of `vlsm refer`.

use std::path::Path;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde_json::{Value, json};
use vlsm_data::{GenerateConfig, Result, Split};
use vlsm_image::fs::write_folder;
use vlsm_image::{ImageError, write_atomic_bytes, write_png_mask, write_png_rgb};

use crate::canvas::{chance, index, uniform};
use crate::scenes::{Related, Scene};

/// Set apart from the streams of other drawings of a seed.
const STREAM: u64 = 1 << 60;

/// Writes scenes with one to four expressions each, such as "the circle to the left of the largest square", into the new folder
/// `root`, which is complete or absent. Each expression is true of exactly one object.
///
/// `train.jsonl` has lists of candidates as a detector would find them, without images, to train language models on. `val.jsonl` and
/// `test.jsonl` have images, the noun phrases to look for, and the masks of the objects that are meant. `progress` is called for each
/// scene, from any thread.
///
/// # Errors
/// If a file cannot be written.
pub fn write_relations(
    config: &GenerateConfig,
    root: &Path,
    progress: impl Fn() + Sync,
) -> Result<()> {
    write_folder(root, |root| {
        for folder in ["images", "masks"] {
            let path = root.join(folder);
            std::fs::create_dir_all(&path).map_err(|source| ImageError::Write {
                path,
                source: source.into(),
                fix: "choose another folder",
            })?;
        }
        let counts = [config.train, config.val, config.test];
        for (split, count) in Split::ALL.into_iter().zip(counts) {
            let scenes = (0..count).into_par_iter().map(|index| {
                let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
                rng.set_stream(STREAM | ((split as u64) << 48) | index as u64);
                let queries = match split {
                    Split::Train => Ok(listed(rng, config.side)),
                    _ => drawn(rng, config.side, root, &format!("{split}_{index:05}")),
                };
                progress();
                queries
            });
            let queries: Vec<Vec<Value>> = scenes.collect::<Result<_>>()?;
            let lines: Vec<String> = queries.iter().flatten().map(Value::to_string).collect();
            let text = match lines.is_empty() {
                true => String::new(),
                false => lines.join("\n") + "\n",
            };
            write_atomic_bytes(&root.join(format!("{split}.jsonl")), text.as_bytes())?;
        }
        Ok(())
    })
}

/// The queries of a scene with lists of candidates: the objects that its noun phrases name, and some others with lower scores, which
/// a detector would have taken for them. Boxes are a pixel or two off.
fn listed(rng: ChaCha8Rng, side: usize) -> Vec<Value> {
    let mut noise = rng.clone();
    noise.set_word_pos(1 << 40);
    let (scene, all) = Scene::with_relations(rng);
    let boxes = scene.boxes(side);
    let off = 1.5 * side as f32 / 168.0;
    let mut query = |one: &Related| {
        let mut candidates = Vec::new();
        for (bbox, named) in boxes.iter().zip(&one.named) {
            let wrong = chance(&mut noise, 0.15);
            let (phrase, least, most) = match named {
                Some(phrase) => (*phrase, 0.75, 1.0),
                None if wrong => (index(&mut noise, one.phrases.len()), 0.5, 0.75),
                None => continue,
            };
            let sides = bbox.map(|at| {
                let at = at as f32 + uniform(&mut noise, -off, off);
                at.round().clamp(0.0, side as f32)
            });
            let score = uniform(&mut noise, least, most);
            candidates.push(json!({
                "box": sides,
                "label": one.phrases[phrase],
                "score": (f64::from(score) * 100.0).round() / 100.0,
            }));
        }
        json!({
            "expression": one.text,
            "candidates": candidates,
            "truth_box": boxes[one.object],
        })
    };
    all.iter().map(&mut query).collect()
}

/// Draws a scene; its queries.
fn drawn(rng: ChaCha8Rng, side: usize, root: &Path, name: &str) -> Result<Vec<Value>> {
    let (scene, all) = Scene::with_relations(rng);
    let drawing = scene.draw(side);
    let image = format!("images/{name}.png");
    write_png_rgb(&root.join(&image), &drawing.image)?;
    let pairs = all.iter().zip(&drawing.referents).enumerate();
    pairs
        .map(|(number, (one, drawn))| {
            let mask = format!("masks/{name}.{number}.png");
            write_png_mask(&root.join(&mask), &drawn.mask)?;
            Ok(json!({
                "image": image,
                "expression": one.text,
                "prompts": one.phrases,
                "truth_mask": mask,
            }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use vlsm_image::read_mask;

    use super::*;

    fn queries(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }

    #[test]
    fn queries_of_both_kinds_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("relations");
        let config = GenerateConfig {
            train: 40,
            val: 0,
            test: 3,
            ..GenerateConfig::default()
        };
        write_relations(&config, &root, || {}).unwrap();
        let lists = queries(&root.join("train.jsonl"));
        assert!(lists.len() > 40, "{}", lists.len());
        for query in &lists {
            // The object that is meant is a candidate.
            let sides = |value: &Value| -> Vec<f64> {
                let sides = value.as_array().unwrap().iter();
                sides.map(|side| side.as_f64().unwrap()).collect()
            };
            let truth = sides(&query["truth_box"]);
            let candidates = query["candidates"].as_array().unwrap();
            let near = |one: &Value| {
                let mut pairs = sides(&one["box"]).into_iter().zip(&truth);
                pairs.all(|(a, b)| (a - b).abs() <= 2.0)
            };
            assert!(candidates.iter().any(near), "{query}");
        }
        for query in queries(&root.join("test.jsonl")) {
            assert!(root.join(query["image"].as_str().unwrap()).is_file());
            let mask = read_mask(&root.join(query["truth_mask"].as_str().unwrap())).unwrap();
            assert!(mask.foreground() > 40, "{query}");
            let expression = query["expression"].as_str().unwrap();
            for phrase in query["prompts"].as_array().unwrap() {
                assert!(expression.contains(phrase.as_str().unwrap()), "{query}");
            }
        }
        assert!(queries(&root.join("val.jsonl")).is_empty());
        // Another time, the same.
        let again = folder.path().join("again");
        write_relations(&config, &again, || {}).unwrap();
        assert_eq!(queries(&again.join("train.jsonl")), lists);
    }
}
