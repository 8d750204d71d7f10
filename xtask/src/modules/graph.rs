//! Strongly connected components.

use std::collections::{BTreeMap, BTreeSet};

use super::Arrows;

/// Sets of two or more modules that depend on each other, each sorted.
pub(super) fn cycles(arrows: &Arrows) -> Vec<Vec<String>> {
    let mut reached = BTreeMap::new();
    for (from, _) in arrows.keys() {
        reached
            .entry(from.as_str())
            .or_insert_with(|| reachable(from, arrows));
    }
    let mut found = BTreeSet::new();
    for (&from, all) in &reached {
        let back = |to: &&&str| reached.get(**to).is_some_and(|all| all.contains(from));
        let cycle: Vec<String> = all.iter().filter(back).map(|&m| m.to_owned()).collect();
        if cycle.len() > 1 {
            found.insert(cycle);
        }
    }
    found.into_iter().collect()
}

fn reachable<'a>(from: &str, arrows: &'a Arrows) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open = vec![from];
    while let Some(module) = open.pop() {
        for (_, to) in arrows.keys().filter(|(from, _)| from == module) {
            if found.insert(to.as_str()) {
                open.push(to);
            }
        }
    }
    found
}
