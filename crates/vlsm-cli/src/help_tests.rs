//! The help of every command fits a terminal of 80 columns, and its examples can be pasted.

use clap::{Command, CommandFactory, Parser};

use crate::commands::Cli;

const COLUMNS: usize = 80;

/// All commands with their help at 80 columns, such as `vlsm data check`.
fn commands() -> Vec<(String, Command)> {
    fn collect(path: &str, command: &Command, all: &mut Vec<(String, Command)>) {
        for child in command.get_subcommands() {
            if child.get_name() != "help" {
                collect(&format!("{path} {}", child.get_name()), child, all);
            }
        }
        all.push((path.to_owned(), command.clone()));
    }
    let mut root = Cli::command().term_width(COLUMNS);
    root.build();
    let mut all = Vec::new();
    collect("vlsm", &root, &mut all);
    all
}

#[test]
fn help_fits_80_columns() {
    for (path, mut command) in commands() {
        let help = command.render_long_help().to_string();
        let too_long: Vec<&str> = help
            .lines()
            .filter(|line| line.chars().count() > COLUMNS)
            .collect();
        assert!(
            too_long.is_empty(),
            "{path} --help has lines of more than {COLUMNS} columns: {too_long:#?}"
        );
    }
}

#[test]
fn examples_are_not_wrapped() {
    for (path, mut command) in commands() {
        let Some(written) = command.get_after_help().map(ToString::to_string) else {
            continue;
        };
        let help = command.render_long_help().to_string();
        assert!(
            help.contains(&written),
            "{path} --help wraps its examples; break them with ` \\`:\n{help}"
        );
    }
}

/// What follows `Example:` or `Examples:`, as commands on one line each.
fn examples(after_help: &str) -> Vec<String> {
    let after = after_help.split_once("Example:\n");
    let Some((_, text)) = after.or_else(|| after_help.split_once("Examples:\n")) else {
        return Vec::new();
    };
    let text = text.replace("\\\n", " ");
    let lines = text.lines().take_while(|line| line.starts_with("  "));
    lines.map(str::to_owned).collect()
}

#[test]
fn examples_are_valid_commands() {
    let mut count = 0;
    for (path, command) in commands() {
        let after_help = command.get_after_help().map(ToString::to_string);
        for example in examples(&after_help.unwrap_or_default()) {
            let words = shlex::split(&example).unwrap();
            if let Err(error) = Cli::try_parse_from(words) {
                panic!(
                    "{path} --help has the example `{}`: {error}",
                    example.trim()
                );
            }
            assert!(example.trim().starts_with(&path), "{path}: {example}");
            count += 1;
        }
    }
    assert!(count > 30, "only {count} examples were found");
}
