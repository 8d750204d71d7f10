//! The classes that segments are named by.

use vlsm_data::{DataError, Dataset, Sample};

use crate::error::{Result, TrainError};

/// The classes of a data set, or of all pooled ones, some of which training must not see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentClasses {
    names: Vec<String>,
    novel: Vec<bool>,
}

impl SegmentClasses {
    /// The classes of a data set with class ids; those named in `novel` are novel, the others are base classes. Case does not
    /// matter, as it does not for CLIP.
    ///
    /// # Errors
    /// If masks are binary, two classes have one name, or `novel` names a class that there is not or all there are.
    pub fn new(dataset: &Dataset, novel: &[String]) -> Result<Self> {
        let names = dataset.class_names()?;
        let same = |a: &str, b: &str| a.trim().to_lowercase() == b.trim().to_lowercase();
        let pairs = names.iter().enumerate();
        let mut pairs =
            pairs.flat_map(|(at, first)| names[..at].iter().map(move |other| (other, first)));
        if let Some((first, second)) = pairs.find(|(first, second)| same(first, second)) {
            return fault(
                "data.classes",
                format!(
                    "`{first}` and `{second}` are the same name for CLIP, which does not see case; rename one of them"
                ),
            );
        }
        if let Some(unknown) = novel
            .iter()
            .find(|name| !names.iter().any(|known| same(known, name)))
        {
            return fault(
                "novel",
                format!(
                    "`{unknown}` is no class of `{}`; its classes are {}",
                    dataset.root.display(),
                    names.join(", ")
                ),
            );
        }
        let novel: Vec<bool> = names
            .iter()
            .map(|name| novel.iter().any(|other| same(name, other)))
            .collect();
        if novel.iter().all(|novel| *novel) {
            return fault(
                "novel",
                "names all classes, so that none is left to train on; leave some out".into(),
            );
        }
        Ok(Self { names, novel })
    }

    /// Names in the order of their ids.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether the class with that index is novel.
    pub fn is_novel(&self, class: usize) -> bool {
        self.novel[class]
    }

    /// The names of base classes, and those of novel ones.
    pub(super) fn base_and_novel(&self) -> [Vec<String>; 2] {
        [false, true].map(|wanted| {
            let classes = self.names.iter().zip(&self.novel);
            let classes = classes.filter(|(_, novel)| **novel == wanted);
            classes.map(|(name, _)| name.clone()).collect()
        })
    }

    /// The index of the class that a sample of the data set is of.
    ///
    /// # Errors
    /// If the sample is of no class.
    pub(super) fn of(&self, dataset: &Dataset, sample: &Sample) -> Result<usize> {
        let class = dataset.class_of(sample);
        let index = self.names.iter().position(|name| Some(&**name) == class);
        index.ok_or_else(|| {
            let reason = format!("sample `{}` is of no named class", sample.name);
            TrainError::Data(DataError::source(sample.source.mask_id(), reason))
        })
    }
}

/// An error in the settings of a naming.
pub(super) fn fault<T>(field: &'static str, reason: String) -> Result<T> {
    Err(TrainError::Data(DataError::Config { field, reason }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(names: &[&str], novel: &[&str]) -> Result<SegmentClasses> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let dataset = Dataset::from_splits("streets", Default::default()).unwrap();
        let dataset = dataset.with_classes(owned(names), None, Default::default());
        let novel: Vec<String> = owned(novel);
        SegmentClasses::new(&dataset, &novel)
    }

    #[test]
    fn case_does_not_matter() {
        let found = classes(&["Sky", "", "Car"], &["car"]).unwrap();
        assert_eq!(found.names(), ["Sky", "Car"]);
        assert_eq!([0, 1].map(|class| found.is_novel(class)), [false, true]);
        for (names, novel, field) in [
            (&["car", "sky", "Car"][..], &[][..], "data.classes"),
            (&["car", "sky", "car"], &[], "data.classes"),
            (&["car", "sky"], &["bus"], "novel"),
            (&["car", "sky"], &["car", "sky"], "novel"),
        ] {
            let error = classes(names, novel).unwrap_err().to_string();
            assert!(error.contains(field), "{names:?} {novel:?}: {error}");
        }
    }
}
