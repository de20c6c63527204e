// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! CRC-32 of files that are mostly holes.
//!
//! It is the one of gzip, PNG and zlib, so that any system can check a file without this program.

use crc32fast::Hasher;

/// The CRC-32 of bytes that come one after the other.
#[derive(Clone, Default)]
pub(crate) struct Checksum {
    hasher: Hasher,
}

impl Checksum {
    /// The checksum of all of `bytes`.
    pub(crate) fn of(bytes: &[u8]) -> u32 {
        crc32fast::hash(bytes)
    }

    /// Adds bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// Adds so many zeros, in no time.
    pub(crate) fn zeros(&mut self, count: u64) {
        let whole = count / FEW.len() as u64;
        // The checksums of 1, 2, 4, 8 ... times as many zeros.
        let mut zeros = Hasher::new();
        zeros.update(&FEW);
        for bit in 0..u64::BITS - whole.leading_zeros() {
            if whole >> bit & 1 == 1 {
                self.hasher.combine(&zeros);
            }
            let same = zeros.clone();
            zeros.combine(&same);
        }
        let rest = usize::try_from(count % FEW.len() as u64).unwrap_or(0);
        self.hasher.update(FEW.get(..rest).unwrap_or_default());
    }

    /// The checksum of all that has been added.
    pub(crate) fn value(&self) -> u32 {
        self.hasher.clone().finalize()
    }
}

/// As many zeros as are quicker to look at than to calculate with.
static FEW: [u8; 16 << 10] = [0; 16 << 10];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_checksum_of_gzip() {
        assert_eq!(Checksum::of(b"123456789"), 0xcbf4_3926);
        assert_eq!(Checksum::default().value(), 0);
    }

    #[test]
    fn zeros_are_as_if_they_had_been_there() {
        for count in [0, 1, 4095, 16 << 10, (16 << 10) + 1, 5 << 20, 12_345_678] {
            let mut quick = Checksum::default();
            quick.update(b"before");
            quick.zeros(count);
            quick.update(b"behind");
            let zeros = vec![0; usize::try_from(count).unwrap()];
            let want = Checksum::of(&[b"before", &zeros[..], b"behind"].concat());
            assert_eq!(quick.value(), want, "{count}");
        }
    }
}
