//! What is opened once for all channels.

use std::path::PathBuf;

use crate::isal::Library;
use crate::{Decoder, Encoder, Level, PageEncoder};

/// What a migration's encoders and decoders are made of. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Deflate {
    /// ISA-L, or why it is not used.
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
                isal: Library::open(Library::SONAME.as_ref()),
            }),
            Isal::Never => Ok(Self::built_in()),
        }
    }

    /// Without a library that is not part of this program.
    pub fn built_in() -> Self {
        Self {
            isal: Err("not wanted".to_owned()),
        }
    }

    /// What encodes at [`Level::FASTEST`], for a log: for instance `ISA-L 2.31`, or
    /// `built in, no ISA-L: not wanted`.
    pub fn implementation(&self) -> String {
        match &self.isal {
            Ok(library) => library.to_string(),
            Err(why) => format!("built in, no ISA-L: {why}"),
        }
    }

    /// Makes the encoder of a channel, for content of at most `max_content` bytes.
    pub fn encoder(&self, level: Level, max_content: usize) -> Encoder {
        Encoder::new(self.isal.as_ref().ok(), level, max_content)
    }

    /// Makes the encoder of a channel whose content is pages of `page_size` bytes, each on its own.
    pub fn page_encoder(&self, page_size: usize) -> PageEncoder {
        PageEncoder::new(self, page_size)
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

#[cfg(test)]
mod tests {
    use super::*;

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
