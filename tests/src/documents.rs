// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What README and the documentation say to type.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A `multifd` that is to be typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typed {
    /// The document, below the root of the repository.
    pub file: PathBuf,
    /// The line on which it begins, from 1 on.
    pub line: usize,
    /// What stands behind `multifd`.
    pub arguments: Vec<String>,
}

/// Every `multifd` in the blocks of shell commands of `README.md` and `docs/*.md` below `root`, in their order; also
/// where cargo runs it.
///
/// # Errors
/// A document cannot be read.
pub fn typed(root: &Path) -> Result<Vec<Typed>> {
    let mut files = vec![PathBuf::from("README.md")];
    for entry in fs::read_dir(root.join("docs")).context("docs")? {
        files.push(Path::new("docs").join(entry?.file_name()));
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let text =
            fs::read_to_string(root.join(&file)).with_context(|| file.display().to_string())?;
        all.extend(
            in_document(&text)
                .into_iter()
                .map(|(line, arguments)| Typed {
                    file: file.clone(),
                    line,
                    arguments,
                }),
        );
    }
    Ok(all)
}

fn in_document(text: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let mut is_shell = false;
    // A command that goes on, and where it began.
    let mut begun: Option<(usize, String)> = None;
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_shell = !is_shell && line.trim() == "```sh";
            continue;
        }
        if !is_shell {
            continue;
        }
        let (first, mut command) = begun.take().unwrap_or((at + 1, String::new()));
        match line.strip_suffix('\\') {
            Some(part) => {
                command.push_str(part);
                begun = Some((first, command));
            }
            None => {
                command.push_str(line);
                let commands = words(&command).into_iter();
                found.extend(
                    commands
                        .filter_map(arguments)
                        .map(|arguments| (first, arguments)),
                );
            }
        }
    }
    found
}

/// What stands behind `multifd`, if that is what the words run.
fn arguments(words: Vec<String>) -> Option<Vec<String>> {
    let is_before = |word: &String| word == "sudo" || word.contains('=');
    let mut words = words.into_iter().skip_while(is_before).peekable();
    match words.next()?.as_str() {
        "multifd" => Some(words.collect()),
        "cargo" => {
            let words: Vec<_> = words.collect();
            let behind = words.iter().position(|word| word == "--")?;
            let is_ours = words.iter().take(behind).any(|word| word == "multifd-cli");
            is_ours.then(|| words.get(behind + 1..).unwrap_or_default().to_vec())
        }
        _ => None,
    }
}

/// The words of each simple command, as far as documents need it: quotes, comments, and what joins commands.
fn words(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in line.chars() {
        match (quote, letter) {
            (Some(open), letter) if open == letter => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, letter) if letter.is_whitespace() || "|&;()<>".contains(letter) => {
                if let (Some(word), Some(command)) = (word.take(), commands.last_mut()) {
                    command.push(word);
                }
                if !letter.is_whitespace() {
                    commands.push(Vec::new());
                }
            }
            _ => word.get_or_insert_default().push(letter),
        }
    }
    if let (Some(word), Some(command)) = (word, commands.last_mut()) {
        command.push(word);
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_in_blocks_of_shell() {
        let text = "multifd outside\n\
                    ```sh\n\
                    multifd send --to 'unix:/a b' \\\n    --wait 5 # a comment\n\
                    A=b sudo multifd doctor | multifd params\n\
                    echo multifd; cargo run -p multifd-cli -- demo\n\
                    ```\n\
                    ```text\nmultifd not this\n```\n";
        let want: [(usize, &[&str]); 4] = [
            (3, &["send", "--to", "unix:/a b", "--wait", "5"]),
            (5, &["doctor"]),
            (5, &["params"]),
            (6, &["demo"]),
        ];
        let want =
            want.map(|(line, words)| (line, words.iter().map(ToString::to_string).collect()));
        assert_eq!(in_document(text), want);
    }
}
