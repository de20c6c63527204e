// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Bits on their way into bytes.

/// Some bits, of which the first one to go out is the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bits {
    /// Those above `count` are 0.
    pub(super) value: u64,
    /// At most 57, which is what a [`BitWriter`] takes at once.
    pub(super) count: u32,
}

impl Bits {
    /// These bits and then others.
    #[inline]
    pub(super) const fn then(self, next: Self) -> Self {
        Self {
            value: self.value | next.value << self.count,
            count: self.count + next.count,
        }
    }
}

/// Writes bits to the front of a buffer.
pub(super) struct BitWriter<'o> {
    out: &'o mut [u8],
    /// Whole bytes written.
    at: usize,
    /// The bits that are no whole byte yet: at most 7.
    rest: Bits,
}

impl<'o> BitWriter<'o> {
    pub(super) fn new(out: &'o mut [u8]) -> Self {
        Self {
            out,
            at: 0,
            rest: Bits { value: 0, count: 0 },
        }
    }

    /// `None` if there is no room for eight bytes, however few the bits are.
    #[inline]
    pub(super) fn push(&mut self, bits: Bits) -> Option<()> {
        let all = self.rest.then(bits);
        self.write(all.value)?;
        self.at += all.count as usize / 8;
        self.rest = Bits {
            value: all.value >> (all.count / 8 * 8),
            count: all.count % 8,
        };
        Some(())
    }

    /// Pushes the `count` lowest bytes of `bytes`, at most eight; those above are 0.
    #[inline]
    pub(super) fn push_bytes(&mut self, bytes: u64, count: usize) -> Option<()> {
        let first = self.rest.value | bytes << self.rest.count;
        self.write(first)?;
        self.at += count;
        // What did not go into the first `count` bytes. In two steps: to shift by 64 is not allowed.
        let behind = bytes >> 1 >> (63 - self.rest.count);
        self.rest.value = if count == 8 {
            behind
        } else {
            first >> (8 * count)
        };
        Some(())
    }

    /// Fills the last byte up and returns how many there are.
    pub(super) fn finish(mut self) -> Option<usize> {
        self.write(self.rest.value)?;
        Some(self.at + usize::from(self.rest.count > 0))
    }

    #[inline]
    fn write(&mut self, bits: u64) -> Option<()> {
        let room = self.out.get_mut(self.at..)?.first_chunk_mut()?;
        *room = bits.to_le_bytes();
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_go_out_from_the_lowest() {
        let mut out = [0xff; 24];
        let mut writer = BitWriter::new(&mut out);
        let bits = |value, count| Bits { value, count };
        writer.push(bits(0b101, 3)).unwrap();
        writer.push(bits(0b11, 2).then(bits(0, 1))).unwrap();
        writer.push_bytes(0x0807_0605_0403_0201, 8).unwrap();
        writer.push_bytes(0x0009, 2).unwrap();
        writer.push(bits(0x3f, 6)).unwrap();
        assert_eq!(writer.finish(), Some(12));
        // The bytes are shifted by the six bits before them.
        let want = [
            0x5d, 0x80, 0xc0, 0x00, 0x41, 0x81, 0xc1, 0x01, 0x42, 0x02, 0xc0, 0x0f,
        ];
        assert_eq!(out[..12], want);
    }

    #[test]
    fn no_room() {
        let mut out = [0; 9];
        let mut writer = BitWriter::new(&mut out);
        let byte = Bits { value: 1, count: 8 };
        assert_eq!(writer.push(byte), Some(()));
        assert_eq!(writer.push(byte), Some(()));
        assert_eq!(writer.push(byte), None);
        assert_eq!(writer.push_bytes(1, 1), None);
        assert_eq!(writer.finish(), None);
    }
}
