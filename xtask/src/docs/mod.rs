//! Generates `docs/recipe.md`, the recipe keys, from the doc comments of the types.
//!
//! Sections are the fields of `Recipe` in order. A field's doc comment gives the key's meaning. The default is the comment's
//! last sentence if that starts with `Default`, otherwise the value in the type's `Default` implementation.

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

/// Reports whether the page differs from what [`write()`] would write.
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
