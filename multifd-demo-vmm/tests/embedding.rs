// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `docs/embedding.md` shows the code word for word.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

#[test]
fn each_block_stands_in_the_file_that_is_named_before_it() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(root.join("docs/embedding.md"))?;
    let mut pieces = page.split("```");
    let (mut file, mut blocks) = (None, 0);
    while let Some(text) = pieces.next() {
        // Between the last of its backticks that has one.
        file = text
            .split('`')
            .rfind(|word| word.contains('/') && word.ends_with(".rs"))
            .or(file);
        let Some(block) = pieces.next() else { break };
        let block = block.strip_prefix("rust\n").context("all code is Rust")?;
        let file = file.context("no file is named")?;
        let code = fs::read_to_string(root.join(file)).with_context(|| file.to_owned())?;
        ensure!(code.contains(block), "not in {file}:\n{block}");
        blocks += 1;
    }
    ensure!(blocks == 22, "{blocks} blocks of code");
    Ok(())
}
