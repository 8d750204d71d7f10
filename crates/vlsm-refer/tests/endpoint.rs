//! A local server that speaks OpenAI's interface, with the faults that such servers have.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use vlsm_language::{EndpointConfig, LanguageError};
use vlsm_refer::{Answers, Candidate, Constraint, Frame, Outcome, ReferError, Remote, resolve};

/// What the server does with a request.
type Reply = dyn Fn(usize, &Value) -> (u16, String) + Send + Sync;

struct Server {
    url: String,
    /// Path, headers and body of each request.
    requests: Arc<Mutex<Vec<(String, String, Value)>>>,
}

/// A server on a free port; `reply` gets the number of the request and its body. Status 0 closes the connection, 1 never answers.
fn server(reply: impl Fn(usize, &Value) -> (u16, String) + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = requests.clone();
    let reply: Arc<Reply> = Arc::new(reply);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (reply, seen) = (reply.clone(), seen.clone());
            std::thread::spawn(move || {
                let mut stream = BufReader::new(stream.unwrap());
                let (mut head, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).unwrap() == 0 || line == "\r\n" {
                        break;
                    }
                    let lower = line.to_lowercase();
                    if let Some(value) = lower.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    head += &line;
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let number = {
                    let mut seen = seen.lock().unwrap();
                    seen.push((path, head, body.clone()));
                    seen.len() - 1
                };
                match reply(number, &body) {
                    (0, _) => {}
                    (1, _) => std::thread::sleep(Duration::from_secs(5)),
                    (status, text) => {
                        let length = text.len();
                        let answer = format!(
                            "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
                        );
                        let _ = stream.get_mut().write_all(answer.as_bytes());
                    }
                }
            });
        }
    });
    Server { url, requests }
}

fn chat(text: &str) -> (u16, String) {
    let usage = json!({ "prompt_tokens": 10, "completion_tokens": 2 });
    let choice = json!({ "message": { "role": "assistant", "content": text } });
    (
        200,
        json!({ "choices": [choice], "usage": usage }).to_string(),
    )
}

fn config(server: &Server) -> EndpointConfig {
    EndpointConfig {
        key: Some("very-secret".into()),
        timeout: Duration::from_millis(300),
        tries: 3,
        wait: Duration::from_millis(1),
        ..EndpointConfig::new(&server.url, "tiny")
    }
}

fn remote(config: EndpointConfig) -> Remote {
    Remote::new(config, Frame::Chat, Constraint::None).unwrap()
}

fn candidates(count: usize) -> Vec<Candidate> {
    let one = |at: usize| Candidate {
        bbox: [at as f64, 0.0, at as f64 + 1.0, 1.0],
        label: "disc".into(),
        score: Some(0.5),
        detector: None,
    };
    (0..count).map(one).collect()
}

fn answers(folder: &tempfile::TempDir) -> Answers {
    Answers::open(&folder.path().join("answers.jsonl")).unwrap()
}

#[test]
fn choices_and_fall_backs() {
    let server = server(
        |_, body| match body["messages"][0]["content"].as_str().unwrap() {
            prompt if prompt.contains("'first'") => chat("0"),
            prompt if prompt.contains("'last'") => chat("Box 2, since it is to the right."),
            prompt if prompt.contains("'prose'") => chat("I do not see any box."),
            prompt if prompt.contains("'far'") => chat("17"),
            prompt if prompt.contains("'null'") => (
                200,
                json!({ "choices": [{ "message": { "content": null } }] }).to_string(),
            ),
            _ => (
                400,
                json!({ "error": { "message": "the prompt is too long" } }).to_string(),
            ),
        },
    );
    let three = candidates(3);
    let questions: Vec<(&str, &[Candidate])> = vec![
        ("first", &three),
        ("last", &three),
        ("prose", &three),
        ("far", &three),
        ("null", &three),
        ("long", &three),
        ("none", &[]),
        ("one", &three[..1]),
    ];
    let folder = tempfile::tempdir().unwrap();
    let endpoint = remote(config(&server));
    let ask = |answers: &Answers| resolve(&questions, &endpoint, answers, 3, None, |_| ()).unwrap();
    let choices = ask(&answers(&folder));
    let found: Vec<_> = choices.iter().map(|c| (c.outcome, c.index)).collect();
    let expected = [
        (Outcome::Chosen, Some(0)),
        (Outcome::Chosen, Some(2)),
        (Outcome::NoDigits, None),
        (Outcome::OutOfRange, None),
        (Outcome::NoDigits, None),
        (Outcome::Refused, None),
        (Outcome::NoCandidates, None),
        (Outcome::OnlyCandidate, Some(0)),
    ];
    assert_eq!(found, expected);
    assert_eq!(choices[0].answer.as_ref().unwrap().prompt_tokens, Some(10));
    let requests = std::mem::take(&mut *server.requests.lock().unwrap());
    assert_eq!(requests.len(), 6);
    let (path, head, body) = &requests[0];
    assert_eq!(path, "/v1/chat/completions");
    assert!(
        head.to_lowercase()
            .contains("authorization: bearer very-secret")
    );
    assert_eq!(body["temperature"], 0);
    assert_eq!(body["max_tokens"], 128);
    assert_eq!(body["model"], "tiny");

    // Answers are kept: again asks only the refused one. A half line is dropped.
    let path = folder.path().join("answers.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("secret"), "{text}");
    std::fs::write(&path, format!("{text}{{\"key\": \"12")).unwrap();
    assert_eq!(ask(&answers(&folder)), choices);
    assert_eq!(server.requests.lock().unwrap().len(), 1);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn an_answer_in_a_shuffled_list_is_the_listed_candidate() {
    // The line of the candidate whose box starts at 1.
    let server = server(|_, body| {
        let prompt = body["messages"][0]["content"].as_str().unwrap();
        let line = prompt.lines().find(|line| line.contains("'[1.0,")).unwrap();
        let number = line.split(' ').nth(3).unwrap().trim_end_matches(':');
        chat(number)
    });
    let endpoint = remote(config(&server));
    let four = candidates(4);
    for seed in [None, Some(0), Some(2), Some(7)] {
        let folder = tempfile::tempdir().unwrap();
        let questions = [("a", &four[..])];
        let choices = resolve(&questions, &endpoint, &answers(&folder), 1, seed, |_| ()).unwrap();
        assert_eq!(choices[0].index, Some(1), "{seed:?}");
    }
    let requests = server.requests.lock().unwrap();
    assert_ne!(requests[0].2["messages"], requests[1].2["messages"]);
}

#[test]
fn frames_and_constraints_reach_the_server() {
    let server = server(|_, body| match body.get("prompt") {
        Some(_) => (200, json!({ "choices": [{ "text": " 1" }] }).to_string()),
        None => chat("{\"index\": 1}"),
    });
    let two = candidates(2);
    for (at, constraint) in Constraint::ALL.into_iter().enumerate() {
        let frame = [Frame::Chat, Frame::Plain][at % 2];
        let folder = tempfile::tempdir().unwrap();
        let endpoint = Remote::new(config(&server), frame, constraint).unwrap();
        let questions = [("a", &two[..])];
        let choices = resolve(&questions, &endpoint, &answers(&folder), 1, None, |_| ()).unwrap();
        assert_eq!(choices[0].index, Some(1));
    }
    let requests = server.requests.lock().unwrap();
    let body = |at: usize| &requests[at].2;
    assert!(body(0).get("response_format").is_none());
    assert_eq!(requests[1].0, "/v1/completions");
    assert!(body(1)["prompt"].as_str().unwrap().ends_with("\nAnswer:"));
    let schema = &body(1)["response_format"]["json_schema"]["schema"];
    assert_eq!(schema["properties"]["index"]["enum"], json!([0, 1]));
    assert_eq!(body(2)["grammar"], "root ::= \"0\" | \"1\"");
    assert_eq!(body(3)["structured_outputs"]["choice"], json!(["0", "1"]));
    assert_eq!(body(4)["grammar"]["value"], "(0|1)");
}

#[test]
fn what_may_pass_is_tried_again_and_what_does_not_is_an_error() {
    let two = candidates(2);
    let run = |server: &Server, folder: &tempfile::TempDir| {
        let endpoint = remote(config(server));
        let questions = [("a", &two[..]), ("b", &two[..]), ("c", &two[..])];
        let result = resolve(&questions, &endpoint, &answers(folder), 1, None, |_| ());
        let error = result.as_ref().err().map(ToString::to_string);
        assert!(!error.clone().unwrap_or_default().contains("secret"));
        (result, error.unwrap_or_default())
    };
    let folder = tempfile::tempdir().unwrap();
    // Busy, a lost connection, too slow, then well.
    let busy = server(|number, _| match number {
        0 => (503, "busy".into()),
        1 => (0, String::new()),
        3 => (1, String::new()),
        _ => chat("1"),
    });
    let (result, _) = run(&busy, &folder);
    assert_eq!(result.unwrap().len(), 3);
    assert_eq!(busy.requests.lock().unwrap().len(), 6);

    // The second question is never answered; the answer to the first is kept.
    let folder = tempfile::tempdir().unwrap();
    let failing = server(|number, _| match number {
        0 => chat("1"),
        _ => (500, "{\"error\": \"out of memory\"}".into()),
    });
    let (result, error) = run(&failing, &folder);
    assert!(matches!(
        result,
        Err(ReferError::Language(LanguageError::Endpoint { .. }))
    ));
    assert!(error.contains("500: out of memory, 3 times"), "{error}");
    assert_eq!(answers(&folder).len(), 1);

    for (status, text, part) in [
        (
            401,
            "{\"error\": {\"message\": \"no key\"}}",
            "check the key",
        ),
        (
            404,
            "no model tiny",
            "check the address and the model's name",
        ),
        (
            200,
            "<html>hello</html>",
            "something else than a completion: <html>",
        ),
        (200, "{\"choices\": []}", "something else"),
    ] {
        let text = text.to_owned();
        let refusing = server(move |_, _| (status, text.clone()));
        let (_, error) = run(&refusing, &tempfile::tempdir().unwrap());
        assert!(error.contains(part), "{error}");
        assert_eq!(refusing.requests.lock().unwrap().len(), 1);
    }

    // Nothing listens.
    let down = Server {
        url: "http://127.0.0.1:9/v1".into(),
        requests: Arc::default(),
    };
    let (_, error) = run(&down, &tempfile::tempdir().unwrap());
    assert!(error.contains("is the server up?"), "{error}");
}
