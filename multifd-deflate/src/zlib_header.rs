// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The two bytes that a zlib stream starts with (RFC 1950, 2.2).

/// Bytes of the header.
pub const HEADER_LEN: usize = 2;

/// The header of a stream with a window of 32 KiB at this level: `78 01` at 0 and 1, `78 9c` at 6, the default.
pub fn header(level: u8) -> [u8; HEADER_LEN] {
    match level {
        0..=1 => [METHOD, 0x01],
        2..=5 => [METHOD, 0x5e],
        6 => [METHOD, 0x9c],
        _ => [METHOD, 0xda],
    }
}

/// Checks a header. What it says of the level means nothing to a receiver, and a window smaller than
/// 32 KiB is one of 32 KiB that is not used fully.
///
/// # Errors
/// Another format or compression method, a damaged header, or a dictionary that nobody has.
pub fn check(header: [u8; HEADER_LEN]) -> Result<(), String> {
    let [method, flags] = header;
    let window = method >> 4;
    if method & 0xf != METHOD & 0xf
        || window > METHOD >> 4
        || !u16::from_be_bytes(header).is_multiple_of(31)
    {
        return Err(format!("{header:02x?}, wanted the header of a zlib stream"));
    }
    if flags & DICTIONARY != 0 {
        return Err("a zlib stream with a preset dictionary, wanted one without".to_owned());
    }
    Ok(())
}

/// Deflate with a window of 32 KiB.
const METHOD: u8 = 0x78;
/// The flag of a preset dictionary.
const DICTIONARY: u8 = 0x20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_has_a_good_header() {
        for level in 0..=9 {
            assert_eq!(check(header(level)), Ok(()), "{level}");
        }
        // A window of 4 KiB.
        assert_eq!(check([0x48, 0x89]), Ok(()));
    }

    #[test]
    fn what_is_no_header() {
        for header in [
            [0x78, 0x02],
            [0x79, 0x00],
            [0x88, 0x1c],
            [0x28, 0xb5],
            [0x78, 0xbb],
        ] {
            assert!(check(header).is_err(), "{header:02x?}");
        }
    }
}
