// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `docs/adding-a-method.md` says what works.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use multifd_core::{MethodOptions, Registry};
use multifd_tests::conformance::{self, Integrity, Subject};
use multifd_tests::one_byte::OneByteFactory;

#[test]
fn the_method_does_what_every_method_has_to_do() -> Result<()> {
    let mut registry = Registry::new();
    registry.register(OneByteFactory)?;
    let method = registry.open("one-byte", &MethodOptions::new())?;
    ensure!(method.id().number() == 30);
    conformance::check(&Subject::new(method, Integrity::Unchecked))
}

#[test]
fn the_page_shows_the_code_word_for_word() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("../docs/adding-a-method.md"))?;
    let sources = [
        "src/one_byte/format.rs",
        "src/one_byte/mod.rs",
        "src/one_byte/send.rs",
        "src/one_byte/recv.rs",
    ]
    .map(|file| fs::read_to_string(root.join(file)));
    let mut code = fs::read_to_string(root.join("tests/adding_a_method.rs"))?;
    for source in sources {
        code.push_str(&source?);
    }
    let mut blocks = 0;
    for block in page.split("```rust\n").skip(1) {
        let block = block
            .split("```")
            .next()
            .context("a block without an end")?;
        // The last lines of the page are indented in this file.
        let known = code.contains(block)
            || block
                .lines()
                .all(|line| code.lines().any(|known| known.trim() == line));
        ensure!(known, "not in the code:\n{block}");
        blocks += 1;
    }
    ensure!(blocks == 9, "{blocks} blocks of code");
    Ok(())
}
