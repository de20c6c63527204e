// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What is opened once for all channels.

use std::path::PathBuf;

use crate::isal::Library;
use crate::{Decoder, Encoder, Level, PageEncoder, PartEncoder};

/// What a migration's encoders and decoders are made of. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Deflate {
    /// ISA-L, or what there is instead, and why.
    isal: Result<Library, String>,
}

impl Deflate {
    /// Finds what `isal` asks for. To be called on the host's thread: it may load a library.
    ///
    /// # Errors
    /// A library that was asked for by name and cannot be used.
    pub fn open(isal: &Isal) -> Result<Self, OpenError> {
        match isal {
            Isal::Library(path) => match Library::open(path.as_os_str()) {
                Ok(library) => Ok(Self { isal: Ok(library) }),
                Err(what) => Err(OpenError {
                    library: path.clone(),
                    what,
                }),
            },
            Isal::Auto => Ok(Self {
                isal: Library::open(Library::SONAME.as_ref()).map_err(|what| without(&what)),
            }),
            Isal::Never => Ok(Self::built_in()),
        }
    }

    /// Without a library that is not part of this program.
    pub fn built_in() -> Self {
        Self {
            isal: Err(BUILT_IN.to_owned()),
        }
    }

    /// What encodes at [`Level::FASTEST`], for a log: for instance `ISA-L 2.31`, or
    /// `built in, no libisal.so.2`.
    pub fn implementation(&self) -> String {
        match &self.isal {
            Ok(library) => library.to_string(),
            Err(instead) => instead.clone(),
        }
    }

    /// Makes the encoder of a channel, for content of at most `max_content` bytes.
    pub fn encoder(&self, level: Level, max_content: usize) -> Encoder {
        Encoder::new(self.isal.as_ref().ok(), level, max_content)
    }

    /// Makes the encoder of a channel for parts of a stream that goes on.
    pub fn part_encoder(&self, level: Level) -> PartEncoder {
        PartEncoder::new(self.isal.as_ref().ok(), level)
    }

    /// Makes the encoder of a channel whose content is pages of `page_size` bytes, each on its own.
    pub fn page_encoder(&self, page_size: usize) -> PageEncoder {
        PageEncoder::new(page_size, || self.encoder(Level::FASTEST, page_size))
    }

    /// Makes the decoder of a channel.
    pub fn decoder(&self) -> Decoder {
        Decoder::new()
    }
}

/// Where ISA-L is taken from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isal {
    /// From the system's libraries, if it is there and known.
    #[default]
    Auto,
    /// From this file, or an error.
    Library(PathBuf),
    /// Not at all.
    Never,
}

impl Isal {
    /// The option of methods that has its value.
    pub const OPTION: &str = "isal-library";

    /// The choice that the text of [`Self::OPTION`] makes: `auto` as without it, `none`, or the path
    /// of the library.
    pub fn from_option(text: Option<&str>) -> Self {
        match text {
            None | Some("auto") => Self::Auto,
            Some("none") => Self::Never,
            Some(path) => Self::Library(path.into()),
        }
    }
}

/// The library that was asked for cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} cannot be used as ISA-L: {what}", library.display())]
pub struct OpenError {
    library: PathBuf,
    what: String,
}

const BUILT_IN: &str = "built in";

/// What there is without the system's ISA-L, which `what` keeps from being used.
fn without(what: &str) -> String {
    let name = Library::SONAME;
    // What the loader says when it does not find it; of one that it needs in turn it says the name.
    if what.starts_with(name) && what.contains("No such file") {
        format!("{BUILT_IN}, no {name}")
    } else {
        format!("{BUILT_IN}, {name} cannot be used: {what}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_without() {
        assert_eq!(Deflate::built_in().implementation(), "built in");
        assert_eq!(
            without("libisal.so.2: cannot open shared object file: No such file or directory"),
            "built in, no libisal.so.2"
        );
        let needed = "libm.so.6: cannot open shared object file: No such file or directory";
        assert_eq!(
            without(needed),
            format!("built in, libisal.so.2 cannot be used: {needed}")
        );
    }

    #[test]
    fn a_library_by_name_is_used_or_an_error() {
        let path = PathBuf::from("/nowhere/libisal.so.2");
        let error = Deflate::open(&Isal::Library(path)).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/libisal.so.2 cannot be used as ISA-L: "));
        assert!(error.contains("No such file"), "{error}");
    }

    #[test]
    fn the_option() {
        assert_eq!(Isal::from_option(None), Isal::Auto);
        assert_eq!(Isal::from_option(Some("auto")), Isal::default());
        assert_eq!(Isal::from_option(Some("none")), Isal::Never);
        let path = "/opt/libisal.so";
        assert_eq!(
            Isal::from_option(Some(path)),
            Isal::Library(PathBuf::from(path))
        );
    }
}
