//! A library in the place of UADK's, compiled for one test.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use multifd_core::method::Accelerator;
use multifd_core::{MethodFactory, MethodOptions, MultifdMethods};
use multifd_uadk::UadkFactory;
use tempfile::TempDir;

/// A folder with `libwd_comp.so.2`, with the `libwd.so.2` that it needs, and with its log.
pub(crate) struct Fake {
    folder: TempDir,
}

impl Fake {
    /// One that does what `defines` say: see its source.
    pub(crate) fn new(defines: &[&str]) -> Result<Self> {
        let fake = Self {
            folder: TempDir::new()?,
        };
        let (base, log) = (fake.path("libwd.so.2"), fake.path("log"));
        fake.compile("libwd", &[])?;
        let log = format!("-DLOG=\"{log}\"");
        let defines = defines.iter().map(|define| format!("-D{define}"));
        let arguments: Vec<String> = defines.chain([log, base]).collect();
        fake.compile("libwd_comp", &arguments)?;
        Ok(fake)
    }

    /// The options with which the method finds it.
    pub(crate) fn options(&self, accelerator: Accelerator) -> MethodOptions {
        MethodOptions::new()
            .with(Accelerator::OPTION, accelerator)
            .with(UadkFactory::LIBRARY_OPTION, self.folder.path().display())
    }

    /// A method that finds it, of a factory of its own.
    pub(crate) fn open(
        &self,
        accelerator: Accelerator,
    ) -> Result<std::sync::Arc<dyn MultifdMethods>> {
        Ok(UadkFactory::default().open(&self.options(accelerator))?)
    }

    /// What it was asked for: see [`Log`].
    pub(crate) fn log(&self) -> Result<Log> {
        let log = self.path("log");
        if !Path::new(&log).exists() {
            return Ok(Log(Vec::new()));
        }
        Ok(Log(fs::read_to_string(log)?
            .lines()
            .map(str::to_owned)
            .collect()))
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn compile(&self, name: &str, arguments: &[String]) -> Result<()> {
        let source = format!("{}/fakes/{name}.c", env!("CARGO_MANIFEST_DIR"));
        let output = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror"])
            .arg(format!("-Wl,-soname,{name}.so.2"))
            .args(["-o", &self.path(&format!("{name}.so.2")), &source])
            .args(arguments)
            .output()
            .context("a C compiler, cc, is needed")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{source}: {said}");
        Ok(())
    }
}

/// Its log: a line per event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Log(pub(crate) Vec<String>);

impl Log {
    /// How many lines begin so.
    pub(crate) fn count(&self, start: &str) -> usize {
        self.0.iter().filter(|line| line.starts_with(start)).count()
    }

    /// Demands that it is closed, and that nothing is left of what it gave.
    pub(crate) fn ensure_closed(&self) -> Result<()> {
        ensure!(
            self.0.last().is_some_and(|line| line == "uninit"),
            "{self:?}"
        );
        ensure!(self.count("init") == self.count("uninit"), "{self:?}");
        let refused = self.0.iter().filter(|line| line.ends_with(": 0")).count();
        let refused = refused - self.count("init");
        ensure!(
            self.count("alloc") - refused == self.count("free"),
            "{self:?}"
        );
        Ok(())
    }
}
