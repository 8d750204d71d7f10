//! Where adapters are: towers, layers, and the width at each.

use serde::{Deserialize, Serialize};

use super::{BaseShape, Profile, TowerShape, error};
use crate::error::Result;

/// The parts of a model that have adapters: `v` for the vision tower, `l` for the text tower (language), `c` for the
/// conditional embedding between text tower and decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Towers {
    /// The vision tower.
    V,
    /// The text tower.
    L,
    /// The vision and the text tower.
    Vl,
    /// The text tower and the conditional embedding.
    Lc,
    /// Both towers and the conditional embedding.
    Vlc,
}

impl Towers {
    /// Whether the vision tower is among them.
    pub fn vision(self) -> bool {
        !matches!(self, Self::L | Self::Lc)
    }

    /// Whether the text tower is among them.
    pub fn text(self) -> bool {
        self != Self::V
    }

    /// Whether the conditional embedding is among them.
    pub fn conditional(self) -> bool {
        matches!(self, Self::Vlc | Self::Lc)
    }

    /// The name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::V => "v",
            Self::L => "l",
            Self::Vl => "vl",
            Self::Lc => "lc",
            Self::Vlc => "vlc",
        }
    }

    /// Refuses the conditional embedding, for a method that has nothing there.
    ///
    /// # Errors
    /// If it is among them; the message gives the reason.
    pub(super) fn without_embedding(self, reason: &str) -> Result<Self> {
        if !self.conditional() {
            return Ok(self);
        }
        error(format!(
            "`towers` is \"{}\", but {reason}; use \"v\", \"l\" or \"vl\"",
            self.name()
        ))
    }

    /// The vision tower of a base, if it is among them.
    ///
    /// # Errors
    /// If the vision tower is among them but has no transformer layers.
    pub(super) fn vision_of(self, base: &BaseShape) -> Result<Option<&TowerShape>> {
        if !self.vision() {
            return Ok(None);
        }
        match &base.vision {
            Ok(tower) => Ok(Some(tower)),
            Err(kind) => error(format!(
                "`towers` is \"{}\", but the vision tower of {} is {kind}, without transformer layers; use `towers = \
                 \"l\"` (the text tower) or \"lc\" (and the text embedding)",
                self.name(),
                base.name
            )),
        }
    }
}

/// Widths of the adapters of a tower: hidden units of blocks, or the rank of low-rank changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a width, or a list of one for each layer"
)]
pub enum Bottleneck {
    /// The same in all layers.
    All(usize),
    /// One for each layer that has adapters, the shallowest first (Mishra et al. 2025 let them grow with depth).
    Each(Vec<usize>),
}

impl Bottleneck {
    fn widths(&self) -> &[usize] {
        match self {
            Self::All(width) => std::slice::from_ref(width),
            Self::Each(widths) => widths,
        }
    }
}

/// Where adapters are in a base: pairs of a layer (for shallow adapters, a tap) and the width there, shallowest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AdapterSites {
    /// In the vision tower.
    pub vision: Vec<(usize, usize)>,
    /// In the text tower.
    pub text: Vec<(usize, usize)>,
}

/// The keys of a method that say where its adapters are.
pub(super) struct Placement<'a> {
    pub(super) towers: Towers,
    pub(super) layers: Option<&'a [usize]>,
    pub(super) text_layers: Option<&'a [usize]>,
    pub(super) bottleneck: &'a Bottleneck,
    pub(super) text_bottleneck: Option<&'a Bottleneck>,
    pub(super) cond_bottleneck: Option<usize>,
}

/// Whether the published code has these towers, and one width for all blocks as it does.
pub(super) fn are_published(towers: Towers, bottleneck: &Bottleneck) -> bool {
    [Towers::V, Towers::Vl, Towers::Vlc].contains(&towers)
        && matches!(bottleneck, Bottleneck::All(_))
}

/// Upper bound of hidden units of a block, over 20 times the widest published: a few more digits would ask for more memory
/// than any machine has.
const MOST_UNITS: usize = 65_536;

/// Refuses a number of hidden units that is 0 or absurd.
pub(super) fn check_units(key: &str, units: usize) -> Result<()> {
    match units {
        1..=MOST_UNITS => Ok(()),
        _ => error(format!(
            "`{key}` is {units}; it must be at least 1 and at most {MOST_UNITS}"
        )),
    }
}

/// Refuses a `scale` that turns a change off.
pub(super) fn check_scale(scale: f64) -> Result<()> {
    if scale.is_finite() && scale != 0.0 {
        return Ok(());
    }
    error(format!(
        "`scale` is {scale}; it must be a number other than 0"
    ))
}

/// Width of the block on the conditional embedding if the recipe does not set it.
pub(super) const COND_BOTTLENECK: usize = 256;

impl Placement<'_> {
    /// Sites in the towers' layers: by default in all that the decoder sees (`default`) or all but the last (`paper`).
    pub(super) fn in_layers(&self, base: &BaseShape, profile: Profile) -> Result<AdapterSites> {
        let tower = base.vision.as_ref().unwrap_or(&base.text);
        let default = match profile {
            Profile::Paper => 0..tower.layers.saturating_sub(1),
            Profile::Default => 0..tower.layers,
        };
        let sites = self.sites(base, &default.collect::<Vec<_>>())?;
        if let Ok(tower) = &base.vision
            && let Some((layer, _)) = sites
                .vision
                .iter()
                .find(|(layer, _)| *layer >= tower.layers)
        {
            return error(format!(
                "`layers` has layer {layer}, but no layer after the last tapped layer {} reaches the decoder",
                tower.layers.saturating_sub(1)
            ));
        }
        Ok(sites)
    }

    /// Sites at the taps: by default at all of them.
    pub(super) fn on_taps(&self, base: &BaseShape) -> Result<AdapterSites> {
        let taps = &base.taps;
        if taps.is_empty() {
            return error(format!(
                "{} has no tapped states for shallow adapters; use `kind = \"dense\"` or \"lora\"",
                base.name
            ));
        }
        let sites = self.sites(base, taps)?;
        match sites.vision.iter().find(|(tap, _)| !taps.contains(tap)) {
            Some((tap, _)) => error(format!(
                "`layers` has layer {tap}, but this base taps layers {taps:?}"
            )),
            None => Ok(sites),
        }
    }

    fn sites(&self, base: &BaseShape, default: &[usize]) -> Result<AdapterSites> {
        let towers = self.towers;
        let useless = |key: &str, part: &str| {
            error(format!(
                "`{key}` has no effect with `towers = \"{}\"`, which leaves out {part}; leave out `{key}` or change \
                 `towers`",
                towers.name()
            ))
        };
        if !towers.text() && self.text_layers.is_some() {
            return useless("text_layers", "the text tower");
        }
        if !towers.text() && self.text_bottleneck.is_some() {
            return useless("text_bottleneck", "the text tower");
        }
        if !towers.vision() && self.layers.is_some() {
            return useless(
                "layers",
                "the vision tower (its own layers are `text_layers`)",
            );
        }
        if !towers.conditional() && self.cond_bottleneck.is_some() {
            return useless("cond_bottleneck", "the conditional embedding");
        }
        if let Some(units) = self.cond_bottleneck {
            check_units("cond_bottleneck", units)?;
        }
        let mut sites = AdapterSites::default();
        let layers = self.layers.unwrap_or(default);
        if towers.vision_of(base)?.is_some() {
            sites.vision = tower_sites("", layers, self.layers.is_some(), self.bottleneck)?;
        }
        if towers.text() {
            let from_recipe = self.layers.is_some() || self.text_layers.is_some();
            let layers = self.text_layers.unwrap_or(layers);
            let bottleneck = self.text_bottleneck.unwrap_or(self.bottleneck);
            sites.text = tower_sites("text_", layers, from_recipe, bottleneck)?;
            let depth = base.text.layers;
            if let Some((layer, _)) = sites.text.iter().find(|(layer, _)| *layer >= depth) {
                return error(format!(
                    "text adapters would be in layer {layer}, but the text tower has {depth} layers; use `towers = \
                     \"v\"` or other `text_layers`"
                ));
            }
        }
        Ok(sites)
    }
}

/// The sites of a method that has nothing to choose but towers and layers; the width at each is 1. By default it is in all
/// text layers.
pub(super) fn of_layers(
    towers: Towers,
    layers: Option<&[usize]>,
    text_layers: Option<&[usize]>,
    base: &BaseShape,
    profile: Profile,
) -> Result<AdapterSites> {
    let towers = towers.without_embedding("the text embedding has none of these layers")?;
    let all: Vec<usize> = (0..base.text.layers).collect();
    let all = towers.text().then_some(all.as_slice());
    Placement {
        towers,
        layers,
        text_layers: text_layers.or(all),
        bottleneck: &Bottleneck::All(1),
        text_bottleneck: None,
        cond_bottleneck: None,
    }
    .in_layers(base, profile)
}

/// The sites of a tower, whose keys start with `prefix`. `from_recipe` is true if the recipe names the layers, false if they
/// are the base's.
fn tower_sites(
    prefix: &str,
    layers: &[usize],
    from_recipe: bool,
    bottleneck: &Bottleneck,
) -> Result<Vec<(usize, usize)>> {
    if layers.is_empty() {
        return error(format!(
            "`{prefix}layers` is empty; name at least one layer"
        ));
    }
    // A base may tap its layers in any order.
    if from_recipe && !layers.is_sorted_by(|a, b| a < b) {
        return error(format!(
            "`{prefix}layers` must be ascending, each layer once"
        ));
    }
    let widths = bottleneck.widths();
    for units in widths {
        check_units(&format!("{prefix}bottleneck"), *units)?;
    }
    if matches!(bottleneck, Bottleneck::Each(_)) && widths.len() != layers.len() {
        return error(format!(
            "`{prefix}bottleneck` has {} widths for {} layers {layers:?}; give one for each, or one number for all",
            widths.len(),
            layers.len()
        ));
    }
    let widths = widths.iter().cycle();
    Ok(layers.iter().copied().zip(widths.copied()).collect())
}

/// The layers of some sites.
pub(super) fn layers(sites: &[(usize, usize)]) -> Vec<usize> {
    sites.iter().map(|(layer, _)| *layer).collect()
}
