//! Whether a prompt is like the prompts that an adapter was trained with.

use super::prompts::text_states;
use crate::adapter_file::Inference;
use crate::contract::SegmentationModel;
use crate::error::Result;
use crate::tokenizer::Tokenizer;
use crate::weights::to_host;

/// Most training prompts that an adapter file keeps. Each costs a pass of the text tower when an unknown prompt is compared with
/// them, 30 ms with CLIPSeg on two cores.
const KEPT: usize = 16;

/// Everyday words, which are in no training of a medical or an urban data set as they are here, alone.
///
/// Similarities of text embeddings have another scale in each base, so that no fixed bound fits all: those of these words are the
/// scale. On `builtin:tiny` with the prompts "a red disc", "a blue square" and "large green ring", whose words its tower knows,
/// they are at most 0.39 (cosine); "a red square" has 0.99, "blue disc" 0.98, "disc" 0.64, and words of medicine and streets
/// have at most 0.37.
const EVERYDAY: [&str; 16] = [
    "car", "tree", "garden", "dog", "sky", "table", "person", "water", "book", "road", "bird",
    "shoe", "clock", "apple", "boat", "window",
];

impl Inference {
    /// The training prompts to keep of all, which are distinct, and how similar another prompt must be to them. `model` is the
    /// base without an adapter.
    ///
    /// # Errors
    /// If the tokenizer does not belong to the model.
    pub fn with_prompts<M: SegmentationModel>(
        self,
        model: &M,
        tokenizer: &Tokenizer,
        prompts: &[String],
    ) -> Result<Self> {
        // Evenly spread, with the first.
        let step = prompts.len().div_ceil(KEPT).max(1);
        let prompts: Vec<String> = prompts.iter().step_by(step).cloned().collect();
        if prompts.is_empty() {
            return Ok(self);
        }
        let known = embeddings(model, tokenizer, &prompts)?;
        let words = embeddings(model, tokenizer, &EVERYDAY)?;
        let nearest = words.iter().map(|word| nearest(word, &known).1);
        Ok(Self {
            least_similarity: nearest.reduce(f32::max),
            prompts,
            ..self
        })
    }

    /// For each prompt the training prompt that is nearest to it, if everyday words are nearer to the training prompts than it is.
    /// `None` if the prompt is familiar, or the file does not say.
    ///
    /// # Errors
    /// If the tokenizer does not belong to the model.
    pub fn unfamiliar<M: SegmentationModel>(
        &self,
        model: &M,
        tokenizer: &Tokenizer,
        prompts: &[String],
    ) -> Result<Vec<Option<&str>>> {
        let Some(least) = self.least_similarity else {
            return Ok(vec![None; prompts.len()]);
        };
        // Embeddings of the training prompts, once they are needed.
        let mut known = Vec::new();
        let nearest = prompts.iter().map(|prompt| {
            if self.prompts.contains(prompt) {
                return Ok(None);
            }
            if known.is_empty() {
                known = embeddings(model, tokenizer, &self.prompts)?;
            }
            let own = embeddings(model, tokenizer, &[prompt])?;
            let (index, similarity) = nearest(&own.concat(), &known);
            let unfamiliar = similarity <= least;
            Ok(self
                .prompts
                .get(index)
                .filter(|_| unfamiliar)
                .map(String::as_str))
        });
        nearest.collect()
    }
}

/// What the decoder takes of each prompt, scaled to length 1.
fn embeddings<M: SegmentationModel, P: AsRef<str>>(
    model: &M,
    tokenizer: &Tokenizer,
    prompts: &[P],
) -> Result<Vec<Vec<f32>>> {
    let embedding = |prompt: &P| {
        let states = text_states(model, tokenizer, &[prompt.as_ref()])?;
        let condition = model.condition_text(states)?.into_iter();
        let values: Vec<f32> = condition.flat_map(|state| to_host(state.inner())).collect();
        let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
        let length = length.max(f32::MIN_POSITIVE);
        Ok(values.into_iter().map(|value| value / length).collect())
    };
    prompts.iter().map(embedding).collect()
}

/// The index of the nearest of known embeddings, of which there is at least one, and the cosine.
fn nearest(embedding: &[f32], known: &[Vec<f32>]) -> (usize, f32) {
    let cosine =
        |known: &Vec<f32>| -> f32 { known.iter().zip(embedding).map(|(a, b)| a * b).sum() };
    let cosines = known.iter().map(cosine).enumerate();
    cosines
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap_or((0, f32::NEG_INFINITY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Base, MethodConfig, Model};

    #[test]
    fn prompts_of_other_words_are_unfamiliar() {
        let base = Base::load("builtin:tiny", &crate::device("cpu").unwrap()).unwrap();
        let model = Model::of_network(&base.network, MethodConfig::zero_shot(), 0)
            .unwrap()
            .for_inference();
        let trained = ["a red disc", "a blue square", "large green ring"].map(str::to_owned);
        let inference = Inference::default()
            .with_prompts(&model, &base.tokenizer, &trained)
            .unwrap();
        let nearest = |prompt: &str| {
            let nearest = inference.unfamiliar(&model, &base.tokenizer, &[prompt.into()]);
            nearest.unwrap()[0].map(str::to_owned)
        };
        for familiar in [
            "a red disc",
            "a red square",
            "blue disc",
            "disc",
            "A Red Disc",
        ] {
            assert_eq!(nearest(familiar), None, "{familiar}");
        }
        for unknown in ["skin lesion", "polyp", "street", "banana", "qwertz", ""] {
            let found = nearest(unknown);
            assert!(
                found.is_some_and(|found| trained.contains(&found)),
                "{unknown}"
            );
        }
        // A file that does not say anything gives no notice.
        let none = Inference::default();
        let found = none.unfamiliar(&model, &base.tokenizer, &["banana".into()]);
        assert_eq!(found.unwrap(), [None]);
    }

    #[test]
    fn kept_prompts_are_spread_evenly_and_have_the_first() {
        let base = Base::load("builtin:tiny", &crate::device("cpu").unwrap()).unwrap();
        let model = Model::of_network(&base.network, MethodConfig::zero_shot(), 0)
            .unwrap()
            .for_inference();
        let many: Vec<String> = (0..50).map(|index| format!("disc {index}")).collect();
        let inference = Inference::default()
            .with_prompts(&model, &base.tokenizer, &many)
            .unwrap();
        assert_eq!(inference.prompts.len(), 13);
        assert_eq!(inference.prompts[1], "disc 4");
        assert!(inference.least_similarity.unwrap() < 1.0);
    }
}
