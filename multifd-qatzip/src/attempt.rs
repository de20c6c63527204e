//! One packet, tried with a session of the library.

use multifd_core::method::Fallback;
use qatzip_sys::{Code, Error, Session};

use crate::shape::{Shape, checksums_match};

/// Why a packet was not done.
pub(crate) struct Trouble {
    pub(crate) reason: Fallback,
    pub(crate) what: String,
    /// Whether the device is not to be used any more.
    pub(crate) lost: bool,
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let (reason, lost) = match error.code() {
            Some(Code::NOSW_NO_INST_ATTACH) => (Fallback::Busy, false),
            Some(Code::BUF_ERROR) => (Fallback::NoRoom, false),
            Some(Code::NOSW_UNSUPPORTED_FMT) => (Fallback::Unsupported, false),
            // The payload's fault rather than the device's.
            Some(Code::DATA_ERROR) => (Fallback::Failed, false),
            Some(Code::NOSW_NO_HW | Code::NOSW_NO_MDRV | Code::NOSW_LOW_MEM) => {
                (Fallback::NoDevice, true)
            }
            _ => (Fallback::Failed, true),
        };
        Self {
            reason,
            what: error.to_string(),
            lost,
        }
    }
}

/// Compresses, and looks at what came out: what is sent is only QATzip's form, with all of the content.
pub(crate) fn compress(
    session: &mut Session,
    content: &[u8],
    out: &mut [u8],
) -> Result<(usize, Shape), Trouble> {
    let len = session.compress(content, out)?;
    match Shape::of(out.get(..len).unwrap_or_default()) {
        Ok(shape) if shape.content == content.len() => Ok((len, shape)),
        _ => Err(Trouble {
            reason: Fallback::Failed,
            what: "qzCompress: members that are not of the content".to_owned(),
            lost: true,
        }),
    }
}

/// Decompresses what a device takes. The library compares the checksums with the device's.
pub(crate) fn decompress(
    session: &mut Session,
    shape: &Shape,
    payload: &[u8],
    out: &mut [u8],
) -> Result<(), Trouble> {
    match shape.not_for_device() {
        None => Ok(session.decompress(payload, out)?),
        Some(what) => Err(Trouble {
            reason: Fallback::Unsupported,
            what,
            lost: false,
        }),
    }
}

/// Decompresses and compares the checksums: the library's software may overlook them.
pub(crate) fn decompress_checked(
    session: &mut Session,
    payload: &[u8],
    out: &mut [u8],
) -> Result<(), Trouble> {
    session.decompress(payload, out)?;
    if checksums_match(payload, out) {
        return Ok(());
    }
    session.reset();
    Err(Trouble {
        reason: Fallback::Failed,
        what: "qzDecompress: content that has another checksum".to_owned(),
        lost: false,
    })
}

/// Bytes of the page in [`A_PAGE`].
pub(crate) const PAGE: usize = 4096;

/// A member with a page of zeros.
pub(crate) const A_PAGE: [u8; 52] = [
    0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 12, 0, b'Q', b'Z', 8, 0, 0, 0x10, 0, 0, 20, 0, 0,
    0, // header
    0xed, 0xc1, 0x01, 0x0d, 0, 0, 0, 0xc2, 0xa0, 0xf7, 0x4f, 0x6d, 0x0f, 0x07, 0x14, 0, 0, 0, 0xf0,
    0x6e, // data
    0x11, 0, 0x1c, 0xc7, 0, 0x10, 0, 0, // trailer
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_the_first_try_is_one() {
        let shape = Shape::of(&A_PAGE).unwrap();
        assert_eq!(shape.not_for_device(), None);
        assert_eq!(shape.content, PAGE);
        assert!(checksums_match(&A_PAGE, &[0; PAGE]));
        let mut decoded = [1; PAGE];
        let mut decoder = multifd_deflate::Deflate::built_in().decoder();
        decoder.decode_exact(&A_PAGE[24..44], &mut decoded).unwrap();
        assert_eq!(decoded, [0; PAGE]);
    }
}
