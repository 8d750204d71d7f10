//! Language models that answer prompts: in a server, or in the program.

use std::time::Instant;

use vlsm_language::{Answer, LanguageModel};

use crate::error::{ReferError, Result};
use crate::prompt::Frame;

/// The longest answer in tokens, as published.
pub(crate) const ANSWER_TOKENS: usize = 128;

/// A language model that answers prompts.
pub trait Backend: Sync {
    /// What answers depend on apart from the prompt; kept answers are recognised by it.
    fn identity(&self) -> String;

    /// What surrounds a prompt's text.
    fn frame(&self) -> Frame;

    /// The answer to a prompt about `count` candidates.
    ///
    /// # Errors
    /// [`Refused`](vlsm_language::LanguageError::Refused) or [`TooLong`](vlsm_language::LanguageError::TooLong) if this prompt cannot be answered, another error if none can.
    fn ask(&self, prompt: &str, count: usize) -> Result<Answer>;
}

/// A language model in the program. It answers greedily, with one prompt at a time using all cores.
#[derive(Debug)]
pub struct Local {
    model: LanguageModel,
    frame: Frame,
}

impl Local {
    /// A model and the frame that it was trained with.
    ///
    /// # Errors
    /// If the frame is [`Frame::Chat`], which only servers know.
    pub fn new(model: LanguageModel, frame: Frame) -> Result<Self> {
        match frame {
            Frame::Chat => Err(ReferError::Candidates(
                "the frame `chat` is added by a server; a model in the program takes another, such as `plain`".into(),
            )),
            _ => Ok(Self { model, frame }),
        }
    }
}

impl Backend for Local {
    fn identity(&self) -> String {
        format!("local {} {}", self.model.fingerprint(), self.frame.name())
    }

    fn frame(&self) -> Frame {
        self.frame
    }

    fn ask(&self, prompt: &str, _count: usize) -> Result<Answer> {
        let started = Instant::now();
        let tokens = self.model.encode(prompt)?;
        let answer = self.model.answer_tokens(&tokens, ANSWER_TOKENS)?;
        Ok(Answer {
            text: self.model.decode(&answer)?,
            prompt_tokens: Some(tokens.len() as u64),
            answer_tokens: Some(answer.len() as u64),
            seconds: started.elapsed().as_secs_f64(),
        })
    }
}
