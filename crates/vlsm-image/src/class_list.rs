//! The classes of whole-image labels.

use std::path::Path;

use crate::arrays::ClassMap;
use crate::class_names::ClassNames;
use crate::error::{ImageError, Result};

/// Classes by id. A class's name is its prompt.
///
/// A pixel gets the class with the highest probability if that is above the *background threshold*, else no class. The
/// default threshold depends on the names:
///
/// - If every id has a name it is 0, which turns it off. Such masks (CamVid, Cityscapes) label every pixel, so predicting
///   no class is always wrong.
/// - If an id has no name there is a background, and the threshold is 0.5: a pixel is background if it is in no class's
///   binary mask.
/// - For [`of_prompts`](Self::of_prompts) it is 0.5, because the prompts need not describe everything in the image.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassList {
    /// Names by id; empty for ids that are not segmented.
    names: Vec<String>,
    ignore: Option<u8>,
    background: f32,
}

impl ClassList {
    /// The label of a pixel without a class, if no id stands for the background.
    pub const NONE: u8 = 255;

    /// Probability above which a binary mask is foreground.
    const HALF: f32 = 0.5;

    /// Classes with names by id, `""` for ids that are not segmented. `ignore` is the id that is left out of loss and
    /// metrics.
    ///
    /// # Errors
    /// [`ImageError::Classes`] if no id has a name, two ids have the same name, or there are more than 255 ids.
    pub fn new(names: Vec<String>, ignore: Option<u8>) -> Result<Self> {
        let mut list = Self {
            names,
            ignore,
            background: 0.0,
        };
        list.check()?;
        if list.background_id().is_some() {
            list.background = Self::HALF;
        }
        Ok(list)
    }

    /// Reads a `classes.json`: `{"classes": ["Sky", null, ...], "ignore_index": 11}`.
    ///
    /// # Errors
    /// As [`new`](Self::new), and if the file cannot be read or has another structure.
    pub fn read(path: &Path) -> Result<Self> {
        let file = ClassNames::read(path)?;
        Self::new(file.texts(), file.ignore)
    }

    /// A class for each prompt; its id is the index of the prompt.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of_prompts<P: AsRef<str>>(prompts: &[P]) -> Result<Self> {
        let names = prompts.iter().map(|prompt| prompt.as_ref().to_owned());
        Self::new(names.collect(), None)?.with_background(Self::HALF)
    }

    /// The same classes with another background threshold: a probability from 0 to below 1. 0 turns it off.
    ///
    /// # Errors
    /// [`ImageError::Classes`] if it is out of range.
    pub fn with_background(self, background: f32) -> Result<Self> {
        if !(0.0..1.0).contains(&background) {
            return Err(ImageError::Classes {
                field: "background",
                reason: format!(
                    "{background} is not a probability; use a number from 0 (no threshold) to below 1"
                ),
            });
        }
        Ok(Self { background, ..self })
    }

    /// Ids and names of the classes to segment, in ascending order of ids.
    pub fn targets(&self) -> impl Iterator<Item = (u8, &str)> {
        let ids = (0..=u8::MAX).zip(&self.names);
        ids.filter(|(id, name)| !name.is_empty() && Some(*id) != self.ignore)
            .map(|(id, name)| (id, name.as_str()))
    }

    /// The name of an id; `background` for the background's id, `none` for other ids without a class.
    pub fn name(&self, id: u8) -> &str {
        match self.names.get(usize::from(id)).map(String::as_str) {
            Some("") if Some(id) == self.background_id() => "background",
            None | Some("") => "none",
            Some(name) => name,
        }
    }

    /// Number of ids, including those without a name.
    pub fn ids(&self) -> usize {
        self.names.len()
    }

    /// The id that is left out of loss and metrics.
    pub fn ignore(&self) -> Option<u8> {
        self.ignore
    }

    /// The background threshold, a probability; 0 if there is none.
    pub fn background(&self) -> f32 {
        self.background
    }

    /// The id that stands for the background: the first without a name.
    pub fn background_id(&self) -> Option<u8> {
        let mut ids = (0..=u8::MAX).zip(&self.names);
        let found = ids.find(|(id, name)| name.is_empty() && Some(*id) != self.ignore);
        found.map(|(id, _)| id)
    }

    /// The label of a pixel without a class: the background's id, else [`NONE`](Self::NONE).
    pub fn none(&self) -> u8 {
        self.background_id().unwrap_or(Self::NONE)
    }

    /// Replaces all ids without a name by the background's id, so that there is a single background.
    pub fn fold(&self, labels: &ClassMap) -> ClassMap {
        let mut fold: [u8; 256] = std::array::from_fn(|id| id as u8);
        if let Some(background) = self.background_id() {
            for (id, name) in (0..=u8::MAX).zip(&self.names) {
                if name.is_empty() && Some(id) != self.ignore {
                    fold[usize::from(id)] = background;
                }
            }
        }
        ClassMap {
            data: labels
                .data
                .iter()
                .map(|&id| fold[usize::from(id)])
                .collect(),
            ..*labels
        }
    }

    fn check(&self) -> Result<()> {
        let fault = |reason| {
            Err(ImageError::Classes {
                field: "data.classes",
                reason,
            })
        };
        if self.names.len() > usize::from(Self::NONE) {
            return fault(format!(
                "names {} classes; use at most 255, because label 255 means no class",
                self.names.len()
            ));
        }
        let mut targets: Vec<(u8, &str)> = self.targets().collect();
        if targets.is_empty() {
            return fault("names no class; add at least one name".into());
        }
        targets.sort_by_key(|(_, name)| *name);
        match targets.windows(2).find(|pair| pair[0].1 == pair[1].1) {
            Some(pair) => fault(format!(
                "ids {} and {} are both named `{}` and have the same prompt; rename one of them",
                pair[0].0, pair[1].0, pair[0].1
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str], ignore: Option<u8>) -> Result<ClassList> {
        ClassList::new(names.iter().map(ToString::to_string).collect(), ignore)
    }

    #[test]
    fn without_unnamed_ids_there_is_no_threshold() {
        let classes = list(&["Sky", "Road"], Some(11)).unwrap();
        assert_eq!(classes.background(), 0.0);
        assert_eq!(classes.none(), ClassList::NONE);
        let targets: Vec<_> = classes.targets().collect();
        assert_eq!(targets, [(0, "Sky"), (1, "Road")]);
        assert_eq!(
            [0, 1, 11, 255].map(|id| classes.name(id)),
            ["Sky", "Road", "none", "none"]
        );
    }

    #[test]
    fn ids_without_a_name_become_a_single_background() {
        let classes = list(&["", "car", "", "road", ""], Some(2)).unwrap();
        assert_eq!((classes.background(), classes.none()), (0.5, 0));
        assert_eq!(classes.name(0), "background");
        let labels = ClassMap {
            width: 6,
            height: 1,
            data: vec![0, 1, 2, 3, 4, 255],
        };
        assert_eq!(classes.fold(&labels).data, [0, 1, 2, 3, 0, 255]);
        assert_eq!(classes.with_background(0.0).unwrap().background(), 0.0);
    }

    #[test]
    fn an_ignored_id_is_neither_class_nor_background() {
        let classes = list(&["void", "car"], Some(0)).unwrap();
        assert_eq!(classes.targets().collect::<Vec<_>>(), [(1, "car")]);
        let classes = list(&["", "car"], Some(0)).unwrap();
        assert_eq!((classes.background(), classes.background_id()), (0.0, None));
    }

    #[test]
    fn prompts_do_not_claim_to_be_all_there_is() {
        let classes = ClassList::of_prompts(&["a car", "the sky"]).unwrap();
        assert_eq!((classes.background(), classes.none()), (0.5, 255));
    }

    #[test]
    fn faults_say_what_to_do() {
        for (names, ignore, wanted) in [
            (&["car", "sky", "car"][..], None, "ids 0 and 2"),
            (&["", ""], None, "no class"),
            (&["car"], Some(0), "no class"),
            (&["x"; 256], None, "256"),
        ] {
            let error = list(names, ignore).unwrap_err().to_string();
            assert!(
                error.contains(wanted) && error.contains("data.classes"),
                "{error}"
            );
        }
        for threshold in [-0.1, 1.0, f32::NAN] {
            let classes = list(&["car"], None).unwrap();
            assert!(classes.with_background(threshold).is_err());
        }
    }
}
