//! `docs/recipe.md`: the keys of a recipe, from the doc comments of the types that hold them.
//!
//! Sections are the fields of `Recipe` in order. A field's doc comment is the meaning of its key; its default is the last
//! sentence of the comment if that starts with `Default`, else the value in the type's `Default`.

use std::path::Path;

use anyhow::{Context, Result};

use crate::files;

mod render;
mod types;

const PAGE: &str = "docs/recipe.md";

/// Writes the page.
pub(crate) fn write(root: &Path) -> Result<bool> {
    let page = page(root)?;
    std::fs::write(root.join(PAGE), page).with_context(|| format!("cannot write {PAGE}"))?;
    Ok(true)
}

/// Reports a page that is not what [`write`] writes.
pub(crate) fn check(root: &Path) -> Result<bool> {
    let current = files::read(root, PAGE)? == page(root)?;
    if !current {
        println!("{PAGE} does not match the types; run `cargo xtask docs`");
    }
    Ok(current)
}

fn page(root: &Path) -> Result<String> {
    let types = types::Types::read(root)?;
    render::page(&types)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_page_is_current() {
        assert!(check(&crate::root().unwrap()).unwrap());
    }

    #[test]
    fn keys_defaults_and_values_come_from_the_types() {
        let source = r#"
            /// A recipe.
            #[derive(Serialize)]
            pub struct Recipe {
                /// The optimiser.
                pub optim: OptimConfig,
            }
            /// `[optim]`: AdamW.
            #[derive(Serialize)]
            pub struct OptimConfig {
                /// Learning
                /// rate.
                pub lr: f64,
                /// How it changes. See [`Other`](crate::Other).
                pub schedule: Option<Schedule>,
                /// Steps. Default: all of them.
                pub steps: Option<usize>,
            }
            impl Default for OptimConfig {
                fn default() -> Self {
                    Self { lr: 1e-3, schedule: Schedule::NotAtAll, steps: None }
                }
            }
            #[serde(rename_all = "kebab-case")]
            pub enum Schedule {
                /// Never.
                NotAtAll,
                /// Along a line | curve.
                Linear,
            }
        "#;
        let types = types::Types::parse([("a.rs".to_owned(), source.to_owned())]).unwrap();
        let page = render::page(&types).unwrap();
        let rows: Vec<&str> = page
            .lines()
            .filter(|line| line.starts_with("| `"))
            .collect();
        assert_eq!(
            rows,
            [
                "| `lr` | `1e-3` | Learning rate. |",
                "| `schedule` | `\"not-at-all\"` | How it changes. See `Other`. `\"not-at-all\"`: never. \
                 `\"linear\"`: along a line \\| curve. |",
                "| `steps` | all of them | Steps. |",
            ]
        );
    }
}
