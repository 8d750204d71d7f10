//! The order of an epoch's samples, their prompts, and what happens to their images.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use vlsm_data::{Request, Sample};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::Result;
use crate::recipe::Recipe;

/// All requests of an epoch. They depend only on the seed and the epoch, so that a resumed epoch is the same.
pub(super) fn requests(recipe: &Recipe, samples: &[Sample], epoch: usize) -> Result<Vec<Request>> {
    let (data, seed) = (&recipe.data.config, recipe.trainer.seed);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(epoch as u64 + 1);
    let mut order: Vec<usize> = (0..samples.len()).collect();
    if data.shuffle {
        order.shuffle(&mut rng);
    }
    let request = |sample: usize| {
        let prompt = samples[sample].pick_prompt(&data.prompt, &mut rng)?;
        if !recipe.augment.is_on() {
            return Ok(Request::new(sample, prompt));
        }
        let (transform, prompt) = recipe
            .augment
            .draw(&prompt, augment_seed(seed, epoch, sample));
        Ok(Request::new(sample, prompt).with_transform(transform))
    };
    order.into_iter().map(request).collect()
}

/// The seed of a sample's augmentation in an epoch.
fn augment_seed(seed: u64, epoch: usize, sample: usize) -> u64 {
    let parts = [seed, epoch as u64, sample as u64];
    xxh3_64(&parts.map(u64::to_le_bytes).concat())
}
