//! Expressions with spatial and comparative relations, each of which is true of exactly one object of a scene.

use rand_chacha::ChaCha8Rng;

use super::lay_out;
use super::object::{COLOURS, Object, SHAPES};
use crate::canvas::{chance, choose, index};

/// Words that compare an object with all others of its kind.
const EXTREMES: [(Extreme, &str); 6] = [
    (Extreme::Left, "leftmost"),
    (Extreme::Right, "rightmost"),
    (Extreme::Top, "topmost"),
    (Extreme::Bottom, "bottommost"),
    (Extreme::Large, "largest"),
    (Extreme::Small, "smallest"),
];

/// Words that relate an object to another.
const RELATIONS: [(Relation, &str); 7] = [
    (Relation::Than(Extreme::Left), "to the left of"),
    (Relation::Than(Extreme::Right), "to the right of"),
    (Relation::Than(Extreme::Top), "above"),
    (Relation::Than(Extreme::Bottom), "below"),
    (Relation::Than(Extreme::Large), "larger than"),
    (Relation::Than(Extreme::Small), "smaller than"),
    (Relation::Closest, "closest to"),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Extreme {
    Left,
    Right,
    Top,
    Bottom,
    Large,
    Small,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Relation {
    /// Further in a direction, or larger or smaller.
    Than(Extreme),
    Closest,
}

impl Extreme {
    /// Larger for objects that are more so.
    fn value(self, object: &Object) -> f32 {
        match self {
            Self::Left => -object.x,
            Self::Right => object.x,
            Self::Top => -object.y,
            Self::Bottom => object.y,
            Self::Large => object.radius,
            Self::Small => -object.radius,
        }
    }

    /// The smallest difference that can be seen, in units of the side.
    fn margin(self) -> f32 {
        match self {
            Self::Large | Self::Small => 0.02,
            _ => 0.05,
        }
    }
}

/// The smallest difference of distances that can be seen, in units of the side.
const CLOSER: f32 = 0.08;

/// A noun phrase: a shape, with or without a colour.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Noun {
    shape: usize,
    colour: Option<usize>,
}

impl Noun {
    fn names(self, object: &Object) -> bool {
        object.shape == self.shape && self.colour.is_none_or(|colour| colour == object.colour)
    }

    fn words(self) -> String {
        let shape = SHAPES[self.shape].1[0];
        match self.colour {
            Some(colour) => format!("{} {shape}", COLOURS[colour].1[0]),
            None => shape.to_owned(),
        }
    }
}

/// An expression, and what it is about.
#[derive(Clone, Debug)]
pub(crate) struct Related {
    pub(crate) text: String,
    /// Its noun phrases.
    pub(crate) phrases: Vec<String>,
    /// The object that it means.
    pub(crate) object: usize,
    /// For each object, the phrase that names it, by its index.
    pub(crate) named: Vec<Option<usize>>,
}

/// Objects with at least one expression, and one to four of these, no two alike.
pub(crate) fn related(rng: &mut ChaCha8Rng) -> (Vec<Object>, Vec<Related>) {
    loop {
        let objects = lay_out(1.0, rng);
        let mut all: Vec<Related> = Vec::new();
        for _ in 0..24 {
            if all.len() == 4 {
                break;
            }
            let next = express(&objects, rng);
            all.extend(next.filter(|next| all.iter().all(|one| one.text != next.text)));
        }
        if !all.is_empty() {
            return (objects, all);
        }
    }
}

/// A random expression; none if what was drawn is true of no object or of several.
fn express(objects: &[Object], rng: &mut ChaCha8Rng) -> Option<Related> {
    let target = index(rng, objects.len());
    let noun = |object: &Object, rng: &mut ChaCha8Rng| Noun {
        shape: object.shape,
        colour: chance(rng, 0.4).then_some(object.colour),
    };
    let head = noun(&objects[target], rng);
    let of = |noun: Noun| -> Vec<usize> {
        let all = 0..objects.len();
        all.filter(|at| noun.names(&objects[*at])).collect()
    };
    let group = of(head);
    let words = head.words();
    // A noun that names one object needs no relation; some such expressions teach what the labels mean.
    let alone = group.len() == 1;
    if alone && chance(rng, 0.7) {
        return None;
    }
    if chance(rng, 0.4) {
        let text = match alone {
            true => format!("the {words}"),
            false => {
                let (extreme, word) = choose(rng, &EXTREMES);
                most(objects, &group, extreme).filter(|most| *most == target)?;
                format!("the {word} {words}")
            }
        };
        return Some(Related {
            text,
            named: named(objects, &[head]),
            phrases: vec![words],
            object: target,
        });
    }
    // Objects that the relation is to, apart from those that are meant.
    let others: Vec<usize> = (0..objects.len())
        .filter(|at| !group.contains(at))
        .collect();
    let anchor = *others.get(index(rng, others.len().max(1)))?;
    let other = noun(&objects[anchor], rng);
    let anchors = of(other);
    if anchors.iter().any(|at| group.contains(at)) || other.words() == words {
        return None;
    }
    let second = match anchors.len() {
        1 => other.words(),
        _ => {
            let (extreme, word) = choose(rng, &EXTREMES);
            most(objects, &anchors, extreme).filter(|most| *most == anchor)?;
            format!("{word} {}", other.words())
        }
    };
    let (relation, word) = choose(rng, &RELATIONS);
    let found = match relation {
        Relation::Than(extreme) => only_beyond(objects, &group, anchor, extreme)?,
        Relation::Closest => closest(objects, &group, anchor)?,
    };
    if found != target {
        return None;
    }
    Some(Related {
        text: format!("the {words} {word} the {second}"),
        named: named(objects, &[head, other]),
        phrases: vec![words, other.words()],
        object: target,
    })
}

fn named(objects: &[Object], nouns: &[Noun]) -> Vec<Option<usize>> {
    let of = |object| nouns.iter().position(|noun| noun.names(object));
    objects.iter().map(of).collect()
}

/// The object of a group that clearly exceeds all others in it.
fn most(objects: &[Object], group: &[usize], extreme: Extreme) -> Option<usize> {
    let value = |at: &usize| extreme.value(&objects[*at]);
    let best = *group.iter().max_by(|a, b| value(a).total_cmp(&value(b)))?;
    let clear = |at: &usize| *at == best || value(&best) - value(at) > extreme.margin();
    group.iter().all(clear).then_some(best)
}

/// The only object of a group that clearly exceeds another; none of the rest may nearly do so.
fn only_beyond(
    objects: &[Object],
    group: &[usize],
    anchor: usize,
    extreme: Extreme,
) -> Option<usize> {
    let over = |at: &usize| extreme.value(&objects[*at]) - extreme.value(&objects[anchor]);
    let found = group.iter().filter(|at| over(at) > -extreme.margin());
    match found.collect::<Vec<_>>()[..] {
        [one] if over(one) > extreme.margin() => Some(*one),
        _ => None,
    }
}

/// The object of a group that is clearly closer to another than the rest.
fn closest(objects: &[Object], group: &[usize], anchor: usize) -> Option<usize> {
    let anchor = &objects[anchor];
    let distance = |at: &usize| (objects[*at].x - anchor.x).hypot(objects[*at].y - anchor.y);
    let best = *group
        .iter()
        .min_by(|a, b| distance(a).total_cmp(&distance(b)))?;
    let clear = |at: &usize| *at == best || distance(at) - distance(&best) > CLOSER;
    group.iter().all(clear).then_some(best)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    /// Whether an expression is true of an object, from its words and the objects alone.
    fn is_true(text: &str, objects: &[Object], at: usize) -> bool {
        let noun = |words: &str| {
            let parts: Vec<&str> = words.split(' ').collect();
            let named = |object: &Object| {
                let shape = SHAPES[object.shape].1[0];
                let colour = COLOURS[object.colour].1[0];
                parts == [shape] || parts == [colour, shape]
            };
            (0..objects.len())
                .filter(|at| named(&objects[*at]))
                .collect::<Vec<_>>()
        };
        // The objects that a phrase without a relation can mean.
        let meant = |phrase: &str| -> Vec<usize> {
            let phrase = phrase.strip_prefix("the ").unwrap();
            let extreme = EXTREMES.iter().find_map(|(extreme, word)| {
                Some((*extreme, phrase.strip_prefix(word)?.trim_start()))
            });
            let Some((extreme, words)) = extreme else {
                return noun(phrase);
            };
            let group = noun(words);
            let value = |at: &usize| extreme.value(&objects[*at]);
            let best = group.iter().map(value).fold(f32::MIN, f32::max);
            group.into_iter().filter(|at| value(at) == best).collect()
        };
        for (relation, word) in RELATIONS {
            let Some((first, second)) = text.split_once(&format!(" {word} ")) else {
                continue;
            };
            let [anchor] = meant(second)[..] else {
                panic!("{text}");
            };
            let group = meant(first);
            return group.contains(&at)
                && match relation {
                    Relation::Than(extreme) => {
                        extreme.value(&objects[at]) > extreme.value(&objects[anchor])
                    }
                    Relation::Closest => {
                        let far = |at: usize| {
                            let (a, b) = (&objects[at], &objects[anchor]);
                            (a.x - b.x).hypot(a.y - b.y)
                        };
                        group.iter().all(|other| far(at) <= far(*other))
                    }
                };
        }
        meant(text).contains(&at)
    }

    #[test]
    fn an_expression_is_true_of_its_object_alone() {
        let mut words = std::collections::BTreeMap::new();
        for seed in 0..400 {
            let (objects, all) = related(&mut ChaCha8Rng::seed_from_u64(seed));
            for one in all {
                for at in 0..objects.len() {
                    let expected = at == one.object;
                    assert_eq!(is_true(&one.text, &objects, at), expected, "{seed} {one:?}");
                }
                assert_eq!(one.named[one.object], Some(0));
                let all = EXTREMES.map(|(_, word)| word).into_iter();
                for word in all.chain(RELATIONS.map(|(_, word)| word)) {
                    *words.entry(word).or_insert(0) += usize::from(one.text.contains(word));
                }
            }
        }
        assert!(words.values().all(|count| *count > 10), "{words:?}");
    }
}
