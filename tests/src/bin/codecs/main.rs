// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Measures every method and level on files: how fast it compresses and decompresses on one core,
//! and how small the files become.
//!
//! ```sh
//! cargo run --release -p multifd-tests --bin codecs -- FILE...
//! ```
//!
//! The files are put together, cut into packets of 512 KiB, and go through the methods as they do
//! in a channel: from guest memory to a payload, and from a payload to guest memory. What counts is
//! the processor's time. Methods take turns, so that a machine that slows down does so for all of
//! them, and the best of five rounds counts.
//! `--levels LIST` measures other levels than the default, `--methods LIST` other methods, for instance
//! Intel's library beside our software:
//!
//! ```sh
//! codecs --methods qpl:software,qpl:library --option qpl-library=$(scripts/install-libqpl.sh) FILE...
//! ```
//!
//! `--methods pages,members` measures `multifd-deflate` alone, on 4 KiB and on 64 KiB at a time. It is
//! measured once as it is built, and once more with ISA-L if `--option isal-library=PATH` names it.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

mod method;
mod stream;
mod subject;

use std::env;
use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use multifd_core::{MethodOptions, PageSize};
use multifd_tests::conformance::Guest;
use multifd_tests::libqpl;

use subject::{Memory, Sample, Subject};

#[derive(Parser)]
#[command(about = "Measures compression methods on files")]
struct Arguments {
    /// The files to compress.
    #[arg(required = true)]
    files: Vec<String>,
    /// The levels to measure.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    levels: Vec<u8>,
    /// The methods to measure, or NAME:software, NAME:library or NAME:hardware; pages and members are no methods but what some of them are made of.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "none,zlib,zstd,qatzip,qpl,uadk"
    )]
    methods: Vec<String>,
    /// Further options of the methods, as NAME=VALUE.
    #[arg(long, value_name = "NAME=VALUE", value_parser = option)]
    option: Vec<(String, String)>,
    /// How often each is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

impl Arguments {
    /// This program with the C library that the named libqpl needs, if it has one beside it.
    fn again(&self) -> Result<Option<Command>> {
        let named = self.option.iter().find(|(name, _)| name == "qpl-library");
        named.map_or(Ok(None), |(_, path)| libqpl::rerun(path))
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(mut again) = arguments.again()? {
        let status = again.args(env::args_os().skip(1)).status()?;
        ensure!(status.success(), "{status}");
        return Ok(());
    }
    let page = PageSize::X86.bytes();
    let mut content = Vec::new();
    for file in &arguments.files {
        content.extend(fs::read(file).with_context(|| file.clone())?);
    }
    content.resize(content.len().next_multiple_of(page), 0);
    let memory = Memory {
        source: Guest::with(PageSize::X86, &content)?,
        target: Guest::new(PageSize::X86, content.len() / page)?,
        offsets: (0..content.len())
            .step_by(page)
            .map(|at| at as u64)
            .collect(),
        content,
    };

    let mut subjects = subjects(&arguments)?;
    for _ in 0..arguments.rounds {
        for subject in &mut subjects {
            subject
                .measure(&memory)
                .with_context(|| subject.name.clone())?;
        }
    }
    print(&subjects, memory.content.len());
    Ok(())
}

fn subjects(arguments: &Arguments) -> Result<Vec<Subject>> {
    let mut options = MethodOptions::new();
    for (name, value) in &arguments.option {
        options.set(name, value);
    }
    let mut subjects = Vec::new();
    for name in &arguments.methods {
        let size = match name.as_str() {
            "pages" => Some(stream::PAGE),
            "members" => Some(stream::MEMBER),
            _ => None,
        };
        subjects.extend(match size {
            Some(size) => stream::subjects(name, size, &arguments.levels, &options)?,
            None => method::subjects(name, &arguments.levels, &options)?,
        });
    }
    ensure!(!subjects.is_empty(), "nothing to measure");
    Ok(subjects)
}

fn print(subjects: &[Subject], len: usize) {
    let speed = |time: Duration| len as f64 / time.as_secs_f64() / 1e6;
    let names = subjects.iter().map(|subject| subject.name.len());
    let width = names.max().unwrap_or(0).max(12);
    println!(
        "{:>width$} {:>14} {:>16} {:>8} {:>12}",
        "method", "compress MB/s", "decompress MB/s", "ratio", "bytes"
    );
    for Subject { name, best, .. } in subjects {
        let best = best.unwrap_or(Sample::ZERO);
        println!(
            "{:>width$} {:>14.0} {:>16.0} {:>8.3} {:>12}",
            name,
            speed(best.compress),
            speed(best.decompress),
            len as f64 / best.bytes as f64,
            best.bytes,
        );
    }
}

fn option(text: &str) -> Result<(String, String)> {
    let (name, value) = text.split_once('=').context("wanted NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
