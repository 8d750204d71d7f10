//! What a run's numbers depend on apart from its recipe: the base's weights and the samples.

use std::path::Path;

use serde::{Deserialize, Serialize};
use vlsm_data::{Dataset, Sample, Split};
use vlsm_models::{BaseIdentity, Preprocessing};
use xxhash_rust::xxh3::Xxh3;

/// Identifies a run's base, input size and samples. A checkpoint holds it, and a resumed run must have the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The base's name.
    pub base: String,
    /// Digest of the base's weights.
    pub base_fingerprint: String,
    /// Side of the square input, in pixels.
    pub image_size: usize,
    /// Number of samples of train, val and test.
    pub samples: [usize; 3],
    /// Digest of the samples: their names, targets and prompts, and the lengths of their files.
    pub samples_digest: String,
}

impl Identity {
    /// The identity of a run.
    pub(crate) fn new(
        base: &BaseIdentity,
        preprocessing: &Preprocessing,
        dataset: &Dataset,
    ) -> Self {
        let mut hash = Xxh3::new();
        hash.update(format!("{:?} {:?}", dataset.ignore, dataset.classes).as_bytes());
        for split in Split::ALL {
            hash.update(format!("\n{split}").as_bytes());
            for sample in dataset.split(split) {
                add(&mut hash, sample);
            }
        }
        Self {
            base: base.name.clone(),
            base_fingerprint: base.fingerprint.clone(),
            image_size: preprocessing.image_size,
            samples: Split::ALL.map(|split| dataset.split(split).len()),
            samples_digest: format!("{:032x}", hash.digest128()),
        }
    }

    /// The reason why a run that began as `self` cannot be continued as `now`, and the fix; `None` if it can.
    pub(crate) fn mismatch(&self, now: &Self) -> Option<String> {
        if self.base_fingerprint != now.base_fingerprint {
            return Some(format!(
                "began on other weights of the base: on `{}` with the fingerprint {}, but `{}` has {}; set `model.base` to \
                 the weights that it began on, or start a new run with `--output`",
                self.base, self.base_fingerprint, now.base, now.base_fingerprint
            ));
        }
        if self.image_size != now.image_size {
            return Some(format!(
                "began at an input size of {} pixels, which is now {}; set `model.image_size` to {}",
                self.image_size, now.image_size, self.image_size
            ));
        }
        if self.samples_digest != now.samples_digest {
            let count = |[train, val, test]: [usize; 3]| format!("{train} + {val} + {test}");
            let what = match self.samples == now.samples {
                true => "with as many as now but other names, prompts or files".to_owned(),
                false => format!(
                    "{} for train, val and test, now {}",
                    count(self.samples),
                    count(now.samples)
                ),
            };
            return Some(format!(
                "began on other samples ({what}), which would mix training with validation or test; restore the data set, or \
                 start a new run with `--output`"
            ));
        }
        None
    }
}

fn add(hash: &mut Xxh3, sample: &Sample) {
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let files = sample.source.files();
    let lengths = files.map(|(image, mask)| [length(image), length(mask)]);
    let prompts: Vec<_> = sample.prompts.iter().collect();
    let Sample { name, target, .. } = sample;
    hash.update(format!("{name:?} {target:?} {prompts:?} {lengths:?}\n").as_bytes());
}
