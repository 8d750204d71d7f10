//! A language model in a server that speaks OpenAI's HTTP interface.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{LanguageError, Result};

/// What a language model answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// Tokens of the prompt, if the server counts them.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the answer, if the server counts them.
    pub answer_tokens: Option<u64>,
    /// From the request to the whole answer.
    pub seconds: f64,
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
    /// Whether the server adds the model's own frame of a chat to prompts, by `/chat/completions`; else prompts are sent as they
    /// are, to `/completions`.
    pub chat: bool,
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
            chat: true,
            timeout: Duration::from_secs(60),
            tries: 5,
            wait: Duration::from_millis(500),
        }
    }
}

/// A language model in a server that speaks OpenAI's HTTP interface. Answers are greedy.
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

    /// What it is.
    pub fn config(&self) -> &EndpointConfig {
        &self.config
    }

    /// The answer to a prompt, of at most `tokens` tokens. `field` is a field of the request of its own, such as a grammar.
    ///
    /// # Errors
    /// [`LanguageError::Refused`] if the server refuses this prompt, another error if it answers none.
    pub fn ask(&self, prompt: &str, tokens: usize, field: Option<(&str, Value)>) -> Result<Answer> {
        let config = &self.config;
        let mut body = json!({ "model": config.model, "temperature": 0, "max_tokens": tokens });
        match config.chat {
            true => body["messages"] = json!([{ "role": "user", "content": prompt }]),
            false => body["prompt"] = prompt.into(),
        }
        if let Some((field, value)) = field {
            body[field] = value;
        }
        let mut wait = config.wait;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.ask_once(&body) {
                Ok(answer) => return Ok(answer),
                Err(Failure::Prompt(message)) => return Err(LanguageError::Refused(message)),
                Err(Failure::Lasting(message)) => return Err(self.error(message)),
                Err(Failure::Passing(message)) if tries >= config.tries => {
                    return Err(self.error(format!("{message}, {tries} times; is the server up?")));
                }
                Err(Failure::Passing(_)) => {
                    std::thread::sleep(wait);
                    wait *= 2;
                }
            }
        }
    }

    fn ask_once(&self, body: &Value) -> std::result::Result<Answer, Failure> {
        let config = &self.config;
        let path = match config.chat {
            true => "chat/completions",
            false => "completions",
        };
        let url = format!("{}/{path}", config.url.trim_end_matches('/'));
        let mut request = self.agent.post(&url).content_type("application/json");
        if let Some(key) = &config.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let started = Instant::now();
        let passing = |error: ureq::Error| Failure::Passing(error.to_string());
        let mut response = request.send(body.to_string()).map_err(passing)?;
        let status = response.status().as_u16();
        // Far more than any answer.
        let text = response.body_mut().with_config().limit(1 << 20);
        let text = text.read_to_string().map_err(passing)?;
        if status != 200 {
            return Err(failure(status, &text));
        }
        let answer = serde_json::from_str(&text).ok().and_then(|value: Value| {
            let choice = &value["choices"][0];
            let content = match config.chat {
                true => &choice["message"]["content"],
                false => &choice["text"],
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

    fn error(&self, message: String) -> LanguageError {
        LanguageError::Endpoint {
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
