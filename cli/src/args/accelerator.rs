// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which implementations of a method may be used, and where their libraries are.

use std::ffi::OsString;
use std::str::FromStr;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use multifd_core::MethodOptions;
use multifd_core::method::Accelerator;

/// Which implementations of a method may be used.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AcceleratorArgs {
    /// What compresses and decompresses, if there is an accelerator for the method
    ///
    /// auto: the device if it is usable, or else this project's software. hardware: the device;
    /// without one the migration does not start. library: the vendor's library, with its device or
    /// its own software. software: this project's software; the vendor's library is not loaded.
    #[arg(long, value_name = "WHO", default_value_t, value_parser = choice())]
    accelerator: Accelerator,
    #[command(flatten)]
    pub(crate) libraries: LibraryArgs,
}

/// Where the libraries are that methods load.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LibraryArgs {
    /// The file of a vendor's library; may be repeated, once for each library
    ///
    /// NAME is qatzip, qpl, uadk or isal. The default is the file named by the environment variable
    /// MULTIFD_QATZIP_LIBRARY, MULTIFD_QPL_LIBRARY, MULTIFD_UADK_LIBRARY or MULTIFD_ISAL_LIBRARY,
    /// or else what the system's loader finds.
    #[arg(long, value_name = "NAME=PATH")]
    library: Vec<LibraryArg>,
}

impl AcceleratorArgs {
    /// The options that the methods ask for, with those of the migration's parameters.
    pub(crate) fn options(&self, parameters: MethodOptions) -> MethodOptions {
        let options = self.libraries.options(parameters);
        options.with(Accelerator::OPTION, self.accelerator)
    }

    /// Whether devices are not to be used.
    pub(crate) fn is_software(&self) -> bool {
        self.accelerator == Accelerator::Software
    }

    /// The same choice as arguments for a process that this one starts. The environment it has.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--accelerator".to_owned(), self.accelerator.to_string()];
        for LibraryArg { name, path } in &self.libraries.library {
            arguments.extend(["--library".to_owned(), format!("{name}={path}")]);
        }
        arguments
    }
}

impl LibraryArgs {
    /// The options that name the libraries, with `others`.
    pub(crate) fn options(&self, others: MethodOptions) -> MethodOptions {
        self.with_environment(others, |name| std::env::var_os(name))
    }

    /// As [`Self::options`], for a host that has none of this process's environment.
    pub(crate) fn options_elsewhere(&self) -> MethodOptions {
        self.with_environment(MethodOptions::new(), |_| None)
    }

    fn with_environment(
        &self,
        mut options: MethodOptions,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> MethodOptions {
        for name in LIBRARIES {
            let variable = format!("MULTIFD_{}_LIBRARY", name.to_ascii_uppercase());
            let path = environment(&variable).filter(|path| !path.is_empty());
            if let Some(path) = path {
                options.set(option(name), path.to_string_lossy());
            }
        }
        for LibraryArg { name, path } in &self.library {
            options.set(option(name), path);
        }
        options
    }
}

/// `NAME=PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LibraryArg {
    name: &'static str,
    path: String,
}

impl FromStr for LibraryArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = text.split_once('=').ok_or("wanted NAME=PATH")?;
        let known = LIBRARIES.into_iter().find(|known| *known == name);
        let name = known.ok_or_else(|| {
            let names = LIBRARIES.join(", ");
            format!("no library is named {name:?}, wanted one of {names}")
        })?;
        if path.is_empty() {
            return Err("the path is missing".to_owned());
        }
        Ok(Self {
            name,
            path: path.to_owned(),
        })
    }
}

/// The libraries that some method loads.
const LIBRARIES: [&str; 4] = ["qatzip", "qpl", "uadk", "isal"];

/// The option that names a library's file.
fn option(library: &str) -> String {
    format!("{library}-library")
}

fn choice() -> impl clap::builder::TypedValueParser<Value = Accelerator> {
    PossibleValuesParser::new(Accelerator::ALL.map(Accelerator::name))
        .try_map(|name| name.parse::<Accelerator>())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        accelerator: AcceleratorArgs,
    }

    fn parse(arguments: &[&str]) -> Result<AcceleratorArgs, clap::Error> {
        let name = ["command"].iter();
        Command::try_parse_from(name.chain(arguments)).map(|command| command.accelerator)
    }

    #[test]
    fn arguments_come_before_the_environment() {
        let args = parse(&["--library", "qpl=/a/libqpl.so", "--accelerator", "library"]).unwrap();
        let all = args.options(MethodOptions::new());
        assert_eq!(all.accelerator(), Ok(Accelerator::Library));
        let level = MethodOptions::new().with("level", 3);
        let options = args.libraries.with_environment(level, |name| {
            let file = match name {
                "MULTIFD_QATZIP_LIBRARY" => "/b/libqatzip.so.3",
                "MULTIFD_QPL_LIBRARY" => "/b/libqpl.so",
                _ => "",
            };
            Some(file.into())
        });
        assert_eq!(options.text("level"), Some("3"));
        assert_eq!(options.text("qpl-library"), Some("/a/libqpl.so"));
        assert_eq!(options.text("qatzip-library"), Some("/b/libqatzip.so.3"));
        assert_eq!(options.text("isal-library"), None);
    }

    #[test]
    fn a_child_gets_the_same_choice() {
        let given = [
            "--accelerator",
            "hardware",
            "--library",
            "isal=/l=1/libisal.so.2",
            "--library",
            "uadk=libwd.so.2",
        ];
        assert_eq!(parse(&given).unwrap().arguments(), given);
        assert_eq!(parse(&[]).unwrap().arguments(), ["--accelerator", "auto"]);
    }

    #[test]
    fn what_is_neither_a_choice_nor_a_library_is_refused() {
        for (arguments, want) in [
            (["--accelerator", "gpu"], "hardware, library, software"),
            (["--library", "zstd=x"], "wanted one of qatzip, qpl"),
            (["--library", "qpl"], "wanted NAME=PATH"),
            (["--library", "qpl="], "the path is missing"),
        ] {
            let error = parse(&arguments).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
