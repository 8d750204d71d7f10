//! A language model in a server that speaks OpenAI's HTTP interface.

use serde_json::{Value, json};
use vlsm_language::{Answer, Endpoint, EndpointConfig};

use crate::backend::{ANSWER_TOKENS, Backend};
use crate::error::Result;
use crate::prompt::Frame;

/// How a server is asked to answer with an index and nothing else. Not every server knows every way; some ignore those that they
/// do not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Constraint {
    /// Not at all: the model answers freely.
    #[default]
    None,
    /// A JSON schema in `response_format`: OpenAI, vLLM, Ollama, llama.cpp. The answer is `{"index": 3}`.
    Json,
    /// A grammar: llama.cpp.
    Grammar,
    /// A list of answers in `structured_outputs`: vLLM.
    Choice,
    /// A regular expression: mistral.rs.
    Regex,
}

impl Constraint {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::None,
        Self::Json,
        Self::Grammar,
        Self::Choice,
        Self::Regex,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Json => "json",
            Self::Grammar => "grammar",
            Self::Choice => "choice",
            Self::Regex => "regex",
        }
    }

    /// The field that asks for an index below `count`, and its value.
    fn field(self, count: usize) -> Option<(&'static str, Value)> {
        let indices = || (0..count).map(|index| index.to_string());
        Some(match self {
            Self::None => return None,
            Self::Json => (
                "response_format",
                json!({
                    "type": "json_schema",
                    "json_schema": {
                        "name": "index",
                        "strict": true,
                        "schema": {
                            "type": "object",
                            "properties": {
                                "index": { "type": "integer", "enum": (0..count).collect::<Vec<_>>() }
                            },
                            "required": ["index"],
                            "additionalProperties": false,
                        },
                    },
                }),
            ),
            Self::Grammar => {
                let quoted: Vec<String> = indices().map(|index| format!("\"{index}\"")).collect();
                ("grammar", format!("root ::= {}", quoted.join(" | ")).into())
            }
            Self::Choice => (
                "structured_outputs",
                json!({ "choice": indices().collect::<Vec<_>>() }),
            ),
            Self::Regex => {
                let all: Vec<String> = indices().collect();
                let value = format!("({})", all.join("|"));
                ("grammar", json!({ "type": "regex", "value": value }))
            }
        })
    }
}

impl std::str::FromStr for Constraint {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let found = Self::ALL.into_iter().find(|way| way.name() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join("`, `");
            format!("`{name}` is no constraint; there are `{names}`")
        })
    }
}

/// A language model in a server. Answers are at most 128 tokens long, as published.
#[derive(Debug)]
pub struct Remote {
    endpoint: Endpoint,
    frame: Frame,
    constraint: Constraint,
}

impl Remote {
    /// A server, what surrounds prompts, and how answers are constrained. [`Frame::Chat`] asks `/chat/completions`, the others
    /// `/completions`, whatever `config` says.
    ///
    /// # Errors
    /// If the address is not one of HTTP.
    pub fn new(mut config: EndpointConfig, frame: Frame, constraint: Constraint) -> Result<Self> {
        config.chat = frame == Frame::Chat;
        Ok(Self {
            endpoint: Endpoint::new(config)?,
            frame,
            constraint,
        })
    }
}

impl Backend for Remote {
    fn identity(&self) -> String {
        let model = self.endpoint.config().model.as_str();
        [model, self.frame.name(), self.constraint.name()].join("\0")
    }

    fn frame(&self) -> Frame {
        self.frame
    }

    fn ask(&self, prompt: &str, count: usize) -> Result<Answer> {
        let field = self.constraint.field(count);
        Ok(self.endpoint.ask(prompt, ANSWER_TOKENS, field)?)
    }
}
