// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A zlib stream (RFC 1950): two bytes of header, a deflate stream, and the Adler-32 of the content,
//! big endian.

use multifd_core::MethodIdentity;
use multifd_deflate::{Decoder, PageEncoder, adler32, zlib_header};

/// The value of `multifd-compression`.
pub(crate) const NAME: &str = MethodIdentity::UADK.name();

/// Writes a page as a stream to the front of `out` and returns its length; `None` if it does not fit.
pub(crate) fn encode(encoder: &mut PageEncoder, page: &[u8], out: &mut [u8]) -> Option<usize> {
    let room = out.len().checked_sub(AROUND)?;
    let (header, rest) = out.split_at_mut_checked(HEADER.len())?;
    header.copy_from_slice(&HEADER);
    let deflate = encoder.encode(page, rest.get_mut(..room)?)?;
    rest.get_mut(deflate..)?
        .get_mut(..CHECKSUM_LEN)?
        .copy_from_slice(&adler32(page).to_be_bytes());
    Some(AROUND + deflate)
}

/// The parts of a stream that fills its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stream<'a> {
    deflate: &'a [u8],
    checksum: [u8; CHECKSUM_LEN],
}

impl<'a> Stream<'a> {
    /// Checks the header. What it says of the level means nothing to a receiver, and neither does a
    /// window that is larger than the page.
    ///
    /// # Errors
    /// Another format or compression method, a damaged header, or a dictionary that nobody has.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let parts = bytes
            .split_first_chunk()
            .and_then(|(header, rest)| Some((*header, rest.split_last_chunk()?)));
        let Some((header, (deflate, checksum))) = parts else {
            return Err(format!(
                "{} bytes, which are not a zlib stream with a checksum",
                bytes.len()
            ));
        };
        zlib_header::check(header)?;
        Ok(Self {
            deflate,
            checksum: *checksum,
        })
    }

    /// Decompresses it to all of `page`.
    ///
    /// # Errors
    /// What is wrong with it. What `page` then holds is not defined.
    pub(crate) fn decode(&self, decoder: &mut Decoder, page: &mut [u8]) -> Result<(), String> {
        decoder
            .decode_exact(self.deflate, page)
            .map_err(|error| error.to_string())?;
        if self.is_of(page) {
            return Ok(());
        }
        let (got, want) = (self.checksum, adler32(page).to_be_bytes());
        Err(format!(
            "a zlib stream with the checksum {got:02x?}, wanted {want:02x?}"
        ))
    }

    /// Whether this is the content that the checksum was made of.
    pub(crate) fn is_of(&self, content: &[u8]) -> bool {
        self.checksum == adler32(content).to_be_bytes()
    }
}

/// Deflate, a window of 32 KiB, the default level: the header that Kunpeng's own driver writes. It
/// passes over it when it reads.
const HEADER: [u8; 2] = [0x78, 0x9c];
const CHECKSUM_LEN: usize = 4;
/// Bytes of a stream besides those of deflate.
pub(crate) const AROUND: usize = HEADER.len() + CHECKSUM_LEN;

#[cfg(test)]
mod tests {
    use multifd_deflate::Deflate;

    use super::*;

    fn page() -> Vec<u8> {
        b"what a guest writes, ".repeat(200)[..4096].to_vec()
    }

    fn stream() -> Vec<u8> {
        let page = page();
        let mut out = vec![0; page.len()];
        let mut encoder = Deflate::built_in().page_encoder(page.len());
        let len = encode(&mut encoder, &page, &mut out).unwrap();
        out.truncate(len);
        // With exactly as much room, or nearly, and never without.
        for room in 0..len {
            assert_eq!(encode(&mut encoder, &page, &mut vec![0; room]), None);
        }
        out
    }

    #[test]
    fn a_stream_goes_both_ways() {
        let (page, stream) = (page(), stream());
        assert_eq!(stream[..2], [0x78, 0x9c]);
        let mut decoder = Deflate::built_in().decoder();
        let mut decoded = vec![0; page.len()];
        let parsed = Stream::parse(&stream).unwrap();
        assert_eq!(parsed.decode(&mut decoder, &mut decoded), Ok(()));
        assert!(decoded == page);
        assert!(parsed.is_of(&page));

        for (at, what) in [
            (stream.len() - 1, "checksum"),
            (0, "header"),
            (1, "header"),
            (8, ""),
        ] {
            let mut damaged = stream.clone();
            damaged[at] ^= 1;
            let error = Stream::parse(&damaged)
                .and_then(|stream| stream.decode(&mut decoder, &mut decoded))
                .unwrap_err();
            assert!(error.contains(what), "{at}: {error}");
        }
    }

    #[test]
    fn headers() {
        let rest = [0; 8];
        let parse = |header: [u8; 2]| Stream::parse(&[&header[..], &rest].concat()).map(|_| ());
        for legal in [
            [0x78, 0x01],
            [0x78, 0x5e],
            [0x78, 0xda],
            [0x48, 0x89],
            [0x08, 0x1d],
        ] {
            assert_eq!(parse(legal), Ok(()), "{legal:02x?}");
        }
        for wrong in [[0x78, 0x02], [0x79, 0x00], [0x88, 0x1c], [0x1f, 0x8b]] {
            assert!(
                parse(wrong).unwrap_err().contains("the header"),
                "{wrong:02x?}"
            );
        }
        assert!(parse([0x78, 0xbb]).unwrap_err().contains("dictionary"));
        for short in 0..AROUND {
            let error = Stream::parse(&[0x78; 8][..short]).unwrap_err();
            assert!(error.contains("not a zlib stream"), "{error}");
        }
    }
}
