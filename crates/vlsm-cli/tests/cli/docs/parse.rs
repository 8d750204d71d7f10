//! Commands of a Markdown document: the lines of its fenced `sh` blocks.

/// A command of a document.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DocCommand {
    /// The line that it starts on, from 1.
    pub(super) line: usize,
    /// Its words, with `vlsm` for `cargo run --`.
    pub(super) words: Vec<String>,
}

/// The commands of a document in order.
pub(super) fn commands(text: &str) -> Result<Vec<DocCommand>, String> {
    let mut commands = Vec::new();
    // The block's language, inside a block.
    let mut block: Option<&str> = None;
    // The start of a command that continues on the next line.
    let mut begun: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if let Some(language) = line.trim_start().strip_prefix("```") {
            block = match block {
                Some(_) => None,
                None => Some(language.trim()),
            };
            if let Some(other @ ("bash" | "shell" | "console")) = block {
                return Err(format!("{number}: a block of `{other}`; use `sh`"));
            }
            continue;
        }
        if block != Some("sh") {
            continue;
        }
        let (start, mut command) = begun.take().unwrap_or((number, String::new()));
        if let Some(line) = line.strip_suffix('\\') {
            command += line;
            begun = Some((start, command));
            continue;
        }
        command += line;
        for part in command.split("&&") {
            let words = shlex::split(part).ok_or(format!("{start}: an open quote"))?;
            if words.is_empty() {
                continue;
            }
            if words
                .iter()
                .any(|word| matches!(word.as_str(), "|" | ">" | ";"))
            {
                return Err(format!(
                    "{start}: `{part}`: one command a line, without a shell"
                ));
            }
            let words = without_cargo_run(words);
            commands.push(DocCommand { line: start, words });
        }
    }
    Ok(commands)
}

/// `cargo run [--release] [-p vlsm-cli] -- ...` as `vlsm ...`.
fn without_cargo_run(words: Vec<String>) -> Vec<String> {
    let run = words
        .get(..2)
        .is_some_and(|words| words == ["cargo", "run"]);
    let example = words.iter().any(|word| word == "--example");
    match words.iter().position(|word| word == "--") {
        Some(end) if run && !example => {
            let arguments = words.into_iter().skip(end + 1);
            std::iter::once("vlsm".to_owned())
                .chain(arguments)
                .collect()
        }
        _ => words,
    }
}

#[test]
fn commands_are_found_in_sh_blocks() {
    let text = "\
# Title
`vlsm inline`
```sh
# a comment
cargo run --release -- demo     # another
vlsm predict --prompt \"a # car\" \\
    street.jpg -o out           # a mask
```
```toml
vlsm = 1
```
";
    let expected = [
        (5, vec!["vlsm", "demo"]),
        (
            6,
            vec![
                "vlsm",
                "predict",
                "--prompt",
                "a # car",
                "street.jpg",
                "-o",
                "out",
            ],
        ),
    ];
    let expected = expected.map(|(line, words)| DocCommand {
        line,
        words: words.into_iter().map(str::to_owned).collect(),
    });
    assert_eq!(commands(text).unwrap(), expected);
    assert!(commands("```bash\nls\n```\n").is_err());
}
