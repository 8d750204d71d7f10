//! Training language models on prompts with answers, as LLM-wrapper does (Cardiel et al. 2025, arXiv 2409.11919).

mod recipe;
mod run;
mod train;

pub use recipe::{LanguageRecipe, Tuning};
pub use run::{LanguageExample, LanguageSummary, train_language};
