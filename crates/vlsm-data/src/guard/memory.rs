//! Masks in memory, whose levels have a fixed meaning: 0, 1, and 255 for pixels that are left out.

use std::path::Path;

use vlsm_image::Mask;

use super::masks::{Shown, foreground};
use crate::dataset::Dataset;
use crate::file_set::{SAMPLE, in_parallel, spread};
use crate::finding::{FindingKind, Severity};
use crate::findings::Findings;
use crate::mask_prompts::parts;
use crate::sample::{Sample, Target};
use crate::source::Masks;
use crate::split::Split;

/// What the mask of a sample contains.
struct Facts<'a> {
    path: &'a Path,
    /// Number of pixels at each level.
    counts: [usize; 256],
    shown: Shown<'a>,
}

/// Adds what binary masks in memory show. Those that cannot be read are reported where they are used.
pub(super) fn masks(dataset: &Dataset, found: &mut Findings) {
    let samples: Vec<(&Sample, bool)> = Split::ALL
        .into_iter()
        .flat_map(|split| {
            let samples = dataset.split(split).iter();
            samples.map(move |sample| (sample, split == Split::Train))
        })
        .collect();
    let facts = in_parallel(&spread(&samples, SAMPLE), |(sample, train)| {
        facts(sample, *train)
    });
    let facts: Vec<Facts<'_>> = facts.into_iter().flatten().collect();
    if facts.is_empty() {
        return;
    }
    const LEFT_OUT: usize = Mask::IGNORE as usize;
    let other = |facts: &&Facts<'_>| (2..LEFT_OUT).any(|level| facts.counts[level] > 0);
    let any = |level: usize| facts.iter().any(|facts| facts.counts[level] > 0);
    let wrong: Vec<&Path> = facts.iter().filter(other).map(|facts| facts.path).collect();
    let fault = if let Some(first) = wrong.first() {
        format!(
            "{} of {} masks have other levels than 0, 1 and 255 (`{}`), which count as background; give foreground as 1",
            wrong.len(),
            facts.len(),
            first.display()
        )
    } else if any(LEFT_OUT) && !any(1) {
        "the masks have the levels 0 and 255, and 255 is left out of loss and metrics; give foreground as 1".to_owned()
    } else {
        String::new()
    };
    if !fault.is_empty() {
        return found.add(Severity::Error, FindingKind::Levels, &wrong, fault);
    }
    let shown: Vec<Shown<'_>> = facts.into_iter().map(|facts| facts.shown).collect();
    foreground(&shown, "check that foreground is 1", found);
}

fn facts(sample: &Sample, train: bool) -> Option<Facts<'_>> {
    let Target::Mask(index) = sample.target else {
        return None;
    };
    let Ok(Masks::Binary(masks)) = sample.source.masks() else {
        return None;
    };
    let mask = masks.into_iter().nth(index)?;
    let mut counts = [0; 256];
    mask.data
        .iter()
        .for_each(|level| counts[usize::from(*level)] += 1);
    let path = Path::new(&sample.name);
    Some(Facts {
        path,
        shown: Shown {
            path,
            share: counts[1] as f64 / mask.data.len().max(1) as f64,
            parts: parts(&mask),
            train,
        },
        counts,
    })
}
