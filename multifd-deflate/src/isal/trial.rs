// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Finding out whether the library is what it says.

use std::ffi::OsStr;

use super::encoder::{IsalEncoder, Mode};
use super::library::Library;
use crate::libdeflate::Inflater;
use crate::stored::{Stream, store};

impl Library {
    /// Loads a library by its path, or by its name from where the system's loader looks, and tries it.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn open(name: &OsStr) -> Result<Self, String> {
        let library = Self::load(name)?;
        library.try_out(Mode::Fixed, Stream::Ends)?;
        library.try_out(Mode::Dynamic, Stream::Ends)?;
        library.try_out(Mode::Dynamic, Stream::GoesOn)?;
        Ok(library)
    }

    /// Compresses something and looks at what came of it: that tells whether the library and these
    /// declarations mean the same.
    fn try_out(&self, mode: Mode, after: Stream) -> Result<(), String> {
        let numbers = (0..8192u32).flat_map(|at| (at * at % 1021).to_le_bytes());
        let content: Vec<u8> = numbers.collect();
        let mut stream = vec![GUARD; 2 * content.len()];
        let (out, guard) = stream.split_at_mut(content.len());
        let written = IsalEncoder::new(self.clone(), mode).encode(&content, out, after);
        let mut written = written.ok_or_else(|| format!("{mode:?}: it does not compress"))?;
        let mut decoded = vec![0; content.len()];
        if after == Stream::GoesOn {
            let end = out.get_mut(written..).unwrap_or_default();
            written += store(&[], end, Stream::Ends).unwrap_or_default();
        }
        let inflated =
            Inflater::new().inflate(out.get(..written).unwrap_or_default(), &mut decoded);
        let whole = inflated.is_ok_and(|end| end.read == written && end.written == content.len());
        if !whole || decoded != content {
            return Err(format!(
                "{mode:?}: what it compresses is something else when decompressed"
            ));
        }
        if guard.iter().any(|byte| *byte != GUARD) {
            return Err(format!("{mode:?}: it writes beyond its output"));
        }
        Ok(())
    }
}

/// A byte that shows when it is overwritten.
const GUARD: u8 = 0xa5;
