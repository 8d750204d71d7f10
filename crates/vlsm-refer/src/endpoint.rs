//! A language model in a server that speaks OpenAI's HTTP interface.

use std::fmt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::backend::{ANSWER_TOKENS, Backend};
use crate::error::{ReferError, Result};
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

/// What an [`Endpoint`] is.
#[derive(Clone)]
pub struct EndpointConfig {
    /// The address up to and with the version, as `http://localhost:8080/v1`.
    pub url: String,
    /// The model's name there.
    pub model: String,
    /// Sent as a bearer token. It is in no file and no message.
    pub key: Option<String>,
    /// The frame of prompts: [`Frame::Chat`] asks `/chat/completions`, the others `/completions`.
    pub frame: Frame,
    /// How the answer is constrained.
    pub constraint: Constraint,
    /// The longest time for a request.
    pub timeout: Duration,
    /// Tries for a request that fails for a reason that may pass: no connection, a time-out, the statuses 429 and 5xx.
    pub tries: usize,
    /// The wait after the first of them; it doubles after each.
    pub wait: Duration,
}

impl EndpointConfig {
    /// A minute for a request, five tries.
    pub fn new(url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            model: model.into(),
            key: None,
            frame: Frame::default(),
            constraint: Constraint::default(),
            timeout: Duration::from_secs(60),
            tries: 5,
            wait: Duration::from_millis(500),
        }
    }
}

/// A language model in a server that speaks OpenAI's HTTP interface. Answers are greedy and at most 128 tokens long, as published.
pub struct Endpoint {
    config: EndpointConfig,
    agent: ureq::Agent,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &self.shown())
            .field("model", &self.config.model)
            .finish_non_exhaustive()
    }
}

/// Why a request failed.
enum Failure {
    /// Another try may succeed.
    Passing(String),
    /// The server refuses this prompt.
    Prompt(String),
    /// No prompt would be answered.
    Lasting(String),
}

impl Endpoint {
    /// A connection is made by the first request.
    ///
    /// # Errors
    /// If the address is not one of HTTP.
    pub fn new(config: EndpointConfig) -> Result<Self> {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(config.timeout))
            .http_status_as_error(false)
            .build()
            .new_agent();
        let endpoint = Self { config, agent };
        let url = &endpoint.config.url;
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(
                endpoint.error("is no address; write it as http://localhost:8080/v1".into())
            );
        }
        Ok(endpoint)
    }

    fn ask_once(&self, prompt: &str, count: usize) -> std::result::Result<Answer, Failure> {
        let config = &self.config;
        let mut body =
            json!({ "model": config.model, "temperature": 0, "max_tokens": ANSWER_TOKENS });
        let path = match config.frame {
            Frame::Chat => {
                body["messages"] = json!([{ "role": "user", "content": prompt }]);
                "chat/completions"
            }
            _ => {
                body["prompt"] = prompt.into();
                "completions"
            }
        };
        if let Some((field, value)) = config.constraint.field(count) {
            body[field] = value;
        }
        let url = format!("{}/{path}", config.url.trim_end_matches('/'));
        let mut request = self.agent.post(&url).content_type("application/json");
        if let Some(key) = &config.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let started = Instant::now();
        let passing = |error: ureq::Error| Failure::Passing(error.to_string());
        let mut response = request.send(body.to_string()).map_err(passing)?;
        let status = response.status().as_u16();
        // Far more than 128 tokens.
        let text = response.body_mut().with_config().limit(1 << 20);
        let text = text.read_to_string().map_err(passing)?;
        if status != 200 {
            return Err(failure(status, &text));
        }
        let answer = serde_json::from_str(&text).ok().and_then(|value: Value| {
            let choice = &value["choices"][0];
            let content = match config.frame {
                Frame::Chat => &choice["message"]["content"],
                _ => &choice["text"],
            };
            // Some servers send null for an empty answer.
            let text = match content {
                Value::Null if choice.is_object() => "",
                content => content.as_str()?,
            };
            Some(Answer {
                text: text.to_owned(),
                prompt_tokens: value["usage"]["prompt_tokens"].as_u64(),
                answer_tokens: value["usage"]["completion_tokens"].as_u64(),
                seconds: started.elapsed().as_secs_f64(),
            })
        });
        answer.ok_or_else(|| {
            Failure::Lasting(format!(
                "answers with something else than a completion: {}; check the address",
                excerpt(&text)
            ))
        })
    }

    fn error(&self, message: String) -> ReferError {
        ReferError::Endpoint {
            url: self.shown(),
            message,
        }
    }

    /// The address without a user's name or password.
    fn shown(&self) -> String {
        let url = &self.config.url;
        match (url.split_once("://"), url.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
            _ => url.clone(),
        }
    }
}

impl Backend for Endpoint {
    fn identity(&self) -> String {
        let config = &self.config;
        let parts = [
            config.model.as_str(),
            config.frame.name(),
            config.constraint.name(),
        ];
        parts.join("\0")
    }

    fn frame(&self) -> Frame {
        self.config.frame
    }

    fn ask(&self, prompt: &str, count: usize) -> Result<Answer> {
        let mut wait = self.config.wait;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.ask_once(prompt, count) {
                Ok(answer) => return Ok(answer),
                Err(Failure::Prompt(message)) => return Err(ReferError::Refused(message)),
                Err(Failure::Lasting(message)) => return Err(self.error(message)),
                Err(Failure::Passing(message)) if tries >= self.config.tries => {
                    return Err(self.error(format!("{message}, {tries} times; is the server up?")));
                }
                Err(Failure::Passing(_)) => {
                    std::thread::sleep(wait);
                    wait *= 2;
                }
            }
        }
    }
}

/// What an answer with another status than 200 means.
fn failure(status: u16, text: &str) -> Failure {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let error = &value["error"];
    let message = error["message"].as_str().or(error.as_str());
    let message = format!(
        "status {status}: {}",
        excerpt(message.unwrap_or(text.trim()))
    );
    match status {
        401 | 403 => Failure::Lasting(format!("{message}; check the key")),
        404 | 405 => Failure::Lasting(format!("{message}; check the address and the model's name")),
        408 | 429 | 500.. => Failure::Passing(message),
        _ => Failure::Prompt(message),
    }
}

/// The start of a text, in one line.
fn excerpt(text: &str) -> String {
    let line: String = text.chars().take(200).collect();
    line.replace(char::is_control, " ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_a_password() {
        let shown = |url: &str| {
            Endpoint::new(EndpointConfig::new(url, "m"))
                .unwrap()
                .shown()
        };
        assert_eq!(shown("http://me:secret@host:1/v1"), "http://host:1/v1");
        assert_eq!(shown("http://host/v1"), "http://host/v1");
        let error = Endpoint::new(EndpointConfig::new("localhost:8080", "m")).unwrap_err();
        assert!(error.to_string().contains("http://localhost"), "{error}");
    }
}
