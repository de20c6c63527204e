// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Header and trailer of one gzip member.
//!
//! QATzip's default format, "gzip-ext", is a member (RFC 1952) with these 24 bytes before the deflate
//! data, all integers little endian:
//!
//! | offset | size | value |
//! |---|---|---|
//! | 0 | 2 | `1f 8b` |
//! | 2 | 1 | 8, deflate |
//! | 3 | 1 | 4: an extra field, and nothing else |
//! | 4 | 4 | 0, no time |
//! | 8 | 1 | 0, 2 or 4: how hard the compressor tried |
//! | 9 | 1 | 255, no operating system |
//! | 10 | 2 | 12, length of the extra field |
//! | 12 | 2 | `QZ` |
//! | 14 | 2 | 8, length of what follows |
//! | 16 | 4 | bytes of content |
//! | 20 | 4 | bytes of deflate data |
//!
//! After the deflate data come the CRC-32 of the content and its length, 4 bytes each. QAT's hardware
//! takes a member only if all of this is exactly so, with at most [`MAX_CONTENT`] bytes of content.

use multifd_core::MethodIdentity;

/// The value of `multifd-compression`.
pub(crate) const NAME: &str = MethodIdentity::QATZIP.name();

/// Bytes before the deflate data in QATzip's form.
pub(crate) const QZ_HEADER_LEN: usize = 24;
/// Bytes after the deflate data.
pub(crate) const TRAILER_LEN: usize = 8;
/// Most bytes of content in a member that QAT's hardware takes.
pub(crate) const MAX_CONTENT: usize = 64 * 1024;

/// What a member's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Bytes of the header: the deflate data follows.
    pub(crate) len: usize,
    /// The lengths that QATzip adds; a member without them is legal too.
    pub(crate) lengths: Option<Lengths>,
}

/// QATzip's lengths of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lengths {
    /// Bytes of content.
    pub(crate) content: u32,
    /// Bytes of deflate data, without header and trailer.
    pub(crate) deflate: u32,
}

impl Lengths {
    /// The header in QATzip's form.
    pub(crate) fn header(self) -> [u8; QZ_HEADER_LEN] {
        let mut header = QZ_HEADER;
        let (content, deflate) = (self.content.to_le_bytes(), self.deflate.to_le_bytes());
        let fields = content.iter().chain(&deflate);
        for (to, from) in header.iter_mut().skip(CONTENT_AT).zip(fields) {
            *to = *from;
        }
        header
    }
}

/// The 8 bytes that end a member.
pub(crate) fn trailer(content: &[u8]) -> [u8; TRAILER_LEN] {
    // The length is modulo 2^32, as RFC 1952 has it.
    let fields = u64::from(multifd_deflate::crc32(content)) | (content.len() as u64) << 32;
    fields.to_le_bytes()
}

/// Reads the header of the member at the start of `bytes`.
///
/// # Errors
/// What is not as RFC 1952 has it, and at which byte.
pub(crate) fn parse(bytes: &[u8]) -> Result<Header, (usize, String)> {
    let mut reader = Reader { bytes, at: 0 };
    let magic = reader.array()?;
    if magic != [0x1f, 0x8b, 8] {
        return Err((
            0,
            format!("{magic:02x?}, wanted a gzip member with deflate data"),
        ));
    }
    let [flags] = reader.array()?;
    if flags & RESERVED != 0 {
        return Err((
            3,
            format!("gzip flags {flags:#04x}, of which nobody knows a meaning"),
        ));
    }
    // Time, effort, operating system.
    reader.array::<6>()?;
    let mut lengths = None;
    if flags & FEXTRA != 0 {
        let len = u16::from_le_bytes(reader.array()?);
        let (at, extra) = (reader.at, reader.take(len.into())?);
        lengths = qz_lengths(extra).map_err(|what| (at, what))?;
    }
    for text in [FNAME, FCOMMENT] {
        if flags & text != 0 {
            reader.text()?;
        }
    }
    if flags & FHCRC != 0 {
        let header = bytes.get(..reader.at).unwrap_or_default();
        let [low, high, ..] = multifd_deflate::crc32(header).to_le_bytes();
        let got = reader.array()?;
        if got != [low, high] {
            return Err((
                reader.at,
                "the CRC of a gzip header does not match it".to_owned(),
            ));
        }
    }
    Ok(Header {
        len: reader.at,
        lengths,
    })
}

/// Looks for QATzip's field among the fields of the extra field.
fn qz_lengths(extra: &[u8]) -> Result<Option<Lengths>, String> {
    let mut reader = Reader {
        bytes: extra,
        at: 0,
    };
    let cut = |_| "an extra field that ends inside of one of its parts".to_owned();
    let mut lengths = None;
    while reader.at < extra.len() {
        let name: [u8; 2] = reader.array().map_err(cut)?;
        let len = u16::from_le_bytes(reader.array().map_err(cut)?);
        let field = reader.take(len.into()).map_err(cut)?;
        if &name != b"QZ" {
            continue;
        }
        let &[a, b, c, d, e, f, g, h] = field else {
            return Err(format!("QATzip's lengths in {len} bytes, wanted 8"));
        };
        lengths = Some(Lengths {
            content: u32::from_le_bytes([a, b, c, d]),
            deflate: u32::from_le_bytes([e, f, g, h]),
        });
    }
    Ok(lengths)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], (usize, String)> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..len).ok_or_else(|| self.ended())?;
        self.at += len;
        Ok(taken)
    }

    fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN], (usize, String)> {
        self.take(LEN)?.try_into().map_err(|_| self.ended())
    }

    /// Bytes up to a zero, which is taken too.
    fn text(&mut self) -> Result<&'a [u8], (usize, String)> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let len = rest.iter().position(|byte| *byte == 0);
        self.take(len.ok_or_else(|| self.ended())? + 1)
    }

    fn ended(&self) -> (usize, String) {
        (
            self.at,
            "the payload ends inside of a gzip header".to_owned(),
        )
    }
}

/// QATzip's header, with lengths of 0.
const QZ_HEADER: [u8; QZ_HEADER_LEN] = [
    0x1f, 0x8b, 8, FEXTRA, 0, 0, 0, 0, 0, 255, 12, 0, b'Q', b'Z', 8, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];
/// Where the two lengths are.
const CONTENT_AT: usize = 16;

const FHCRC: u8 = 2;
const FEXTRA: u8 = 4;
const FNAME: u8 = 8;
const FCOMMENT: u8 = 16;
const RESERVED: u8 = 0xe0;

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTHS: Lengths = Lengths {
        content: 0x0001_0000,
        deflate: 0x1234,
    };

    #[test]
    fn the_form_that_hardware_takes() {
        let want = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x0c\0QZ\x08\0\0\0\x01\0\x34\x12\0\0";
        assert_eq!(&LENGTHS.header(), want);
        let header = Header {
            len: QZ_HEADER_LEN,
            lengths: Some(LENGTHS),
        };
        assert_eq!(parse(&LENGTHS.header()), Ok(header));
        assert_eq!(trailer(b"123456789"), *b"\x26\x39\xf4\xcb\x09\0\0\0");
    }

    #[test]
    fn other_legal_headers() {
        let fields = b"\x1f\x8b\x08\x1f\x01\x02\x03\x04\x02\x03\x14\0XX\x04\0abcdQZ\x08\0\x05\0\0\0\x06\0\0\0";
        let mut header = [&fields[..], b"name\0a comment\0"].concat();
        let crc = multifd_deflate::crc32(&header).to_le_bytes();
        header.extend(&crc[..2]);
        let parsed = parse(&[&header[..], b"data"].concat()).unwrap();
        assert_eq!(parsed.len, header.len());
        assert_eq!(
            parsed.lengths,
            Some(Lengths {
                content: 5,
                deflate: 6
            })
        );
        for cut in 0..header.len() {
            assert!(parse(&header[..cut]).is_err(), "{cut}");
        }
        header[10] = 8;
        assert!(parse(&header).is_err());

        let plain = parse(b"\x1f\x8b\x08\0\0\0\0\0\0\x03data").unwrap();
        assert_eq!((plain.len, plain.lengths), (10, None));
    }

    #[test]
    fn parts_of_an_extra_field_that_do_not_add_up() {
        let good = LENGTHS.header();
        for (at, byte) in [(10, 11), (10, 13), (14, 7), (14, 9), (15, 1)] {
            let mut header = good.to_vec();
            header[at] = byte;
            header.push(0);
            assert_eq!(parse(&header).unwrap_err().0, 12, "byte {at}");
        }
    }

    #[test]
    fn what_is_no_member() {
        for bytes in [
            &b"\x1f\x8b\x07\0\0\0\0\0\0\x03"[..],
            b"\x28\xb5\x2f\xfd",
            b"",
        ] {
            assert_eq!(parse(bytes).unwrap_err().0, 0);
        }
        assert_eq!(parse(b"\x1f\x8b\x08\x20\0\0\0\0\0\x03").unwrap_err().0, 3);
    }
}
