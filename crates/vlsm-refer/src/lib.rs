//! Which of the objects in an image does an expression mean? LLM-wrapper (Cardiel et al. 2025, arXiv 2409.11919): a language model
//! reads a list of candidates, their boxes, labels and scores, and answers with the number of one. It sees no pixels, and neither
//! model is trained for the other.
//!
//! - [`Query`]: an expression about an image, with candidates from a detector, or [`parts`](candidates::parts) of a segmenter's
//!   masks,
//! - [`prompt`]: the published prompt, and [`read_index`] its answer,
//! - [`Backend`]: a language model; [`Remote`] is one in any server that speaks OpenAI's HTTP interface (llama.cpp, vLLM,
//!   mistral.rs, Ollama), [`Local`] a small one in the program,
//! - [`resolve`]: queries to choices, with the published fall-backs; answers are kept, so that an interrupted run asks again only
//!   what is missing,
//! - [`Scores`]: P@1, mean IoU, mean Dice of masks, and what the best candidate would reach,
//! - [`training_examples`]: chats with the right answers, to fine-tune a language model with.

mod answer;
mod answers;
mod backend;
pub mod candidates;
mod error;
mod geometry;
mod mersenne;
mod prompt;
mod query;
mod remote;
mod resolve;
mod scores;
mod training;

pub use answer::{NoIndex, read_index};
pub use answers::Answers;
pub use backend::{Backend, Local};
pub use candidates::Candidate;
pub use error::{ReferError, Result};
pub use geometry::{Bbox, iou};
pub use prompt::{Frame, Prompt, prompt};
pub use query::{Query, read_queries};
pub use remote::{Constraint, Remote};
pub use resolve::{Choice, Outcome, resolve};
pub use scores::{Case, Scores};
pub use training::{TrainingExample, training_examples};
