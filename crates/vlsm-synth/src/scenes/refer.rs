//! Prompts that pick objects of a scene by their attributes.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;

use super::Related;
use super::object::{COLOURS, Object, POSITIONS, SHAPES, SIZES, TEXTURES, Words, plural};
use crate::canvas::{chance, choose, index, uniform};
use crate::drawing::Referent;
use vlsm_data::Prompts;

/// What a prompt says: the value that it names for each attribute, if any.
#[derive(Clone, Copy, Debug, Default)]
struct Query {
    shape: Option<usize>,
    colour: Option<usize>,
    texture: Option<usize>,
    size: Option<usize>,
    position: Option<usize>,
}

impl Query {
    fn matches(&self, object: &Object) -> bool {
        let agrees = |wanted: Option<usize>, value: usize| wanted.is_none_or(|w| w == value);
        agrees(self.shape, object.shape)
            && agrees(self.colour, object.colour)
            && agrees(self.texture, object.texture)
            && agrees(self.size, object.size)
            && agrees(self.position, object.position)
    }

    /// Matching objects, as a bit mask.
    fn select(&self, objects: &[Object]) -> u32 {
        let bit = |(index, object)| u32::from(self.matches(object)) << index;
        objects.iter().enumerate().map(bit).sum()
    }
}

/// Kinds of prompts with their weights in training: in the first scenes, and once scenes have their full variety. Shapes are
/// the hardest to learn and have half the weight in the first scenes.
const KINDS: [(Kind, f32, f32); 9] = [
    (Kind::Everything, 0.04, 0.03),
    (Kind::Shape, 0.5, 0.22),
    (Kind::Colour, 0.07, 0.06),
    (Kind::Texture, 0.05, 0.13),
    (Kind::Size, 0.05, 0.1),
    (Kind::Position, 0.07, 0.06),
    (Kind::ColourShape, 0.12, 0.14),
    (Kind::Full, 0.0, 0.13),
    (Kind::Absent, 0.1, 0.13),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Everything,
    Shape,
    Colour,
    Texture,
    Size,
    Position,
    ColourShape,
    /// Shape and most other attributes; number and position half of the time.
    Full,
    /// A description that no object matches, although its parts may.
    Absent,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::Shape => "shape",
            Self::Colour => "colour",
            Self::Texture => "texture",
            Self::Size => "size",
            Self::Position => "place",
            Self::ColourShape => "colour and shape",
            Self::Full => "full",
            Self::Absent => "absent",
        }
    }
}

/// A prompt and the objects that it names.
#[derive(Clone, Debug)]
pub(crate) struct Referral {
    prompt: String,
    group: &'static str,
    objects: u32,
}

impl Referral {
    /// Whether object `index` is named.
    pub(super) fn names(&self, index: usize) -> bool {
        self.objects >> index & 1 == 1
    }

    /// An expression that means one object.
    pub(super) fn of_relation(related: &Related) -> Self {
        Self {
            prompt: related.text.clone(),
            group: "relation",
            objects: 1 << related.object,
        }
    }

    /// The prompt and its kind.
    pub(super) fn referent(&self) -> Referent {
        let mut prompts = Prompts::new();
        prompts.insert("p6", vec![self.prompt.clone()]);
        Referent {
            group: self.group.to_owned(),
            prompts,
            oracle: BTreeMap::new(),
        }
    }
}

/// `count` prompts of kinds drawn by their weights; `progress` is 0 in the first scenes of a training and later 1.
pub(super) fn some(
    objects: &[Object],
    count: usize,
    progress: f32,
    rng: &mut ChaCha8Rng,
) -> Vec<Referral> {
    let draw = |_| {
        let mut at = uniform(rng, 0.0, 1.0);
        let mut kind = Kind::Full;
        for (next, first, last) in KINDS {
            let weight = first + (last - first) * progress;
            if at < weight {
                kind = next;
                break;
            }
            at -= weight;
        }
        refer(kind, objects, progress, rng)
    };
    (0..count).map(draw).collect()
}

/// A prompt of every kind, and, if two objects can be distinguished, one that names only the first (`object`) and one
/// that names only the second (`exchanged`). A model that answers both with the same object ignores the prompt.
pub(super) fn every_kind(objects: &[Object], rng: &mut ChaCha8Rng) -> Vec<Referral> {
    let mut referrals: Vec<Referral> = KINDS
        .map(|(kind, ..)| refer(kind, objects, 1.0, rng))
        .into();
    let mut unique: Vec<(usize, Query)> = (0..objects.len())
        .filter_map(|index| Some((index, distinguish(index, objects)?)))
        .collect();
    if unique.len() >= 2 {
        for group in ["object", "exchanged"] {
            let (_, query) = unique.swap_remove(index(rng, unique.len()));
            referrals.push(Referral {
                prompt: phrase(&query, 1, false, rng),
                group,
                objects: query.select(objects),
            });
        }
    }
    referrals
}

/// The shortest description by colour, shape, texture and size that matches this object only.
fn distinguish(index: usize, objects: &[Object]) -> Option<Query> {
    let object = &objects[index];
    let mut query = Query {
        colour: Some(object.colour),
        shape: Some(object.shape),
        ..Query::default()
    };
    let alone = |query: &Query| query.select(objects) == 1 << index;
    if !alone(&query) {
        query.texture = Some(object.texture);
    }
    if !alone(&query) {
        query.size = Some(object.size);
    }
    alone(&query).then_some(query)
}

fn refer(kind: Kind, objects: &[Object], progress: f32, rng: &mut ChaCha8Rng) -> Referral {
    let object = &objects[index(rng, objects.len())];
    let mut query = Query::default();
    match kind {
        Kind::Everything => {}
        Kind::Shape => query.shape = Some(object.shape),
        Kind::Colour => query.colour = Some(object.colour),
        Kind::Texture => query.texture = Some(object.texture),
        Kind::Size => query.size = Some(object.size),
        Kind::Position => query.position = Some(object.position),
        Kind::ColourShape => {
            query.colour = Some(object.colour);
            query.shape = Some(object.shape);
        }
        Kind::Full => query = full(object, rng),
        Kind::Absent => query = absent(objects, rng),
    }
    let selected = query.select(objects);
    let prompt = if chance(rng, 1.0 - 0.85 * progress) {
        bare(&query)
    } else {
        phrase(&query, selected.count_ones(), kind == Kind::Full, rng)
    };
    Referral {
        prompt,
        group: kind.name(),
        objects: selected,
    }
}

fn full(object: &Object, rng: &mut ChaCha8Rng) -> Query {
    let mut maybe = |value: usize, probability| chance(rng, probability).then_some(value);
    Query {
        shape: Some(object.shape),
        colour: maybe(object.colour, 0.8),
        texture: maybe(object.texture, 0.7),
        size: maybe(object.size, 0.7),
        position: maybe(object.position, 0.4),
    }
}

/// A description by one or two attributes that no object matches, preferably with values that occur in the scene.
fn absent(objects: &[Object], rng: &mut ChaCha8Rng) -> Query {
    for attempt in 0.. {
        let mut value = |of: fn(&Object) -> usize, count: usize| {
            if attempt < 6 && chance(rng, 0.6) {
                of(&objects[index(rng, objects.len())])
            } else {
                index(rng, count)
            }
        };
        let shape = value(|object| object.shape, SHAPES.len());
        let colour = value(|object| object.colour, COLOURS.len());
        let query = Query {
            shape: chance(rng, 0.8).then_some(shape),
            colour: chance(rng, 0.7).then_some(colour),
            ..Query::default()
        };
        if query.select(objects) == 0 {
            return query;
        }
    }
    Query::default()
}

/// The words of a query without articles: `red`, `large circle`, `top left`.
fn bare(query: &Query) -> String {
    let words = [
        query.size.map(|size| SIZES[size].1),
        query.colour.map(|colour| COLOURS[colour].1),
        query.texture.map(|texture| TEXTURES[texture].1),
        query.shape.map(|shape| SHAPES[shape].1),
        query.position.map(|position| POSITIONS[position]),
    ];
    let words = words.into_iter().flatten().map(|words| words[0]);
    words.collect::<Vec<_>>().join(" ")
}

/// The query in words: `[number] [size] [colour] [texture] noun[, located in POSITION of the image]`.
fn phrase(query: &Query, count: u32, rich: bool, rng: &mut ChaCha8Rng) -> String {
    // Mostly the first word, otherwise any synonym.
    let word = |words: Words, rng: &mut ChaCha8Rng| {
        if chance(rng, 0.75) {
            words[0]
        } else {
            choose(rng, words)
        }
    };
    let nothing = query.shape.is_none()
        && query.colour.is_none()
        && query.texture.is_none()
        && query.size.is_none()
        && query.position.is_none();
    if nothing && chance(rng, 0.6) {
        return String::new();
    }
    let noun = match query.shape {
        Some(shape) => word(SHAPES[shape].1, rng),
        None => word(&["object", "thing", "shape"], rng),
    };
    let mut adjectives = Vec::new();
    if let Some(size) = query.size {
        adjectives.push(word(SIZES[size].1, rng));
    }
    let surface = [
        query.colour.map(|colour| word(COLOURS[colour].1, rng)),
        query.texture.map(|texture| word(TEXTURES[texture].1, rng)),
    ];
    let reversed = chance(rng, 0.3);
    let surface: Vec<&str> = surface.into_iter().flatten().collect();
    if reversed {
        adjectives.extend(surface.iter().rev());
    } else {
        adjectives.extend(surface);
    }
    let many = count > 1;
    let mut words: Vec<String> = Vec::new();
    if rich && chance(rng, 0.6) {
        let numbers = ["no", "one", "two", "three", "four", "five", "six"];
        words.push(numbers[(count as usize).min(6)].to_owned());
    } else if chance(rng, 0.3) {
        words.push(if many { "all" } else { "the" }.to_owned());
    } else if !many && chance(rng, 0.2) {
        let first = adjectives.first().unwrap_or(&noun);
        let vowel = first.starts_with(['a', 'e', 'i', 'o', 'u']);
        words.push(if vowel { "an" } else { "a" }.to_owned());
    }
    words.extend(adjectives.into_iter().map(str::to_owned));
    words.push(if many && !chance(rng, 0.15) {
        plural(noun)
    } else {
        noun.to_owned()
    });
    let mut text = words.join(" ");
    if let Some(position) = query.position {
        text += if chance(rng, 0.7) {
            ", located in "
        } else {
            " in the "
        };
        text += word(POSITIONS[position], rng);
        if chance(rng, 0.4) {
            text += " of the image";
        }
    }
    text
}
