// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The checksums of the formats around deflate.

/// The CRC-32 of gzip (RFC 1952).
pub fn crc32(bytes: &[u8]) -> u32 {
    libdeflater::crc32(bytes)
}

/// The Adler-32 of zlib (RFC 1950).
pub fn adler32(bytes: &[u8]) -> u32 {
    libdeflater::adler32(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
        assert_eq!((crc32(b""), adler32(b"")), (0, 1));
    }
}
