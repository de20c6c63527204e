//! Sizes on the command line.

use std::str::FromStr;

use multifd_core::PageSize;

/// A size of guest memory in bytes: whole pages, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemorySize(pub(crate) u64);

impl FromStr for MemorySize {
    type Err = String;

    /// Reads a number with an optional suffix K, M, G or T, in powers of 1024.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no size, wanted a number like 64M or 1G");
        let (digits, shift) = match text
            .chars()
            .next_back()
            .map(|last| last.to_ascii_uppercase())
        {
            Some('K') => (text.get(..text.len() - 1), 10),
            Some('M') => (text.get(..text.len() - 1), 20),
            Some('G') => (text.get(..text.len() - 1), 30),
            Some('T') => (text.get(..text.len() - 1), 40),
            _ => (Some(text), 0),
        };
        let number: u64 = digits
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(wrong)?;
        let bytes = number.checked_mul(1 << shift).ok_or_else(wrong)?;
        if bytes == 0 || !PageSize::X86.is_aligned(bytes) {
            let page = PageSize::X86;
            return Err(format!(
                "{text:?} is not a multiple of the page size, {page} bytes"
            ));
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_whole_pages() {
        for (text, bytes) in [
            ("4096", 4096),
            ("64M", 64 << 20),
            ("1g", 1 << 30),
            ("8K", 8192),
        ] {
            assert_eq!(text.parse(), Ok(MemorySize(bytes)));
        }
        for text in [
            "",
            "0",
            "M",
            "1.5G",
            "4097",
            "1K",
            "-1M",
            "99999999T",
            "16 M",
        ] {
            assert!(text.parse::<MemorySize>().is_err(), "{text:?}");
        }
    }
}
