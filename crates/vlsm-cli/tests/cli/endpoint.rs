//! A local server in place of a language model. `crates/vlsm-refer/tests` has more of a server's faults.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// A server that speaks OpenAI's interface.
pub(crate) struct Endpoint {
    pub(crate) url: String,
    prompts: Arc<Mutex<Vec<String>>>,
}

impl Endpoint {
    /// A server on a free port. `reply` gets the number of the request and its prompt, and returns a status and an answer.
    pub(crate) fn new(
        reply: impl Fn(usize, &str) -> (u16, String) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let prompts = Arc::new(Mutex::new(Vec::new()));
        let seen = prompts.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let mut length = 0;
                let mut line = String::new();
                while stream.read_line(&mut line).unwrap() > 2 {
                    if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    line.clear();
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                let body: Value = serde_json::from_slice(&body).unwrap();
                let prompt = body["messages"][0]["content"].as_str().unwrap().to_owned();
                let number = seen.lock().unwrap().len();
                let (status, answer) = reply(number, &prompt);
                seen.lock().unwrap().push(prompt);
                let body = json!({ "choices": [{ "message": { "content": answer } }] }).to_string();
                let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length:");
                let text = format!("{head} {}\r\n\r\n{body}", body.len());
                stream.get_mut().write_all(text.as_bytes()).unwrap();
            }
        });
        Self { url, prompts }
    }

    /// The prompts so far.
    pub(crate) fn prompts(&self) -> Vec<String> {
        self.prompts.lock().unwrap().clone()
    }
}
