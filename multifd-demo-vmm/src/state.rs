// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Device state as bytes: numbers and pieces of known length, one behind the other, least byte first.

use crate::Error;

/// Takes a device's state apart. What is missing or too much is an error.
pub(crate) struct StateReader<'a> {
    device: &'a str,
    rest: &'a [u8],
}

impl<'a> StateReader<'a> {
    pub(crate) fn new(device: &'a str, bytes: &'a [u8]) -> Self {
        Self {
            device,
            rest: bytes,
        }
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or_else(|| {
            let have = self.rest.len();
            self.wrong(format!("{have} bytes are left of its state, wanted {len}"))
        })?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let bytes = self.bytes(N)?;
        bytes
            .try_into()
            .map_err(|_| self.wrong("its state is cut short"))
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result<(), Error> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(self.wrong(format!("its state has {left} bytes too many"))),
        }
    }

    pub(crate) fn wrong(&self, what: impl Into<String>) -> Error {
        Error::State {
            device: self.device.into(),
            what: what.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_and_no_more() {
        let mut state = StateReader::new("serial", &[1, 0, 0, 0, 9, 9]);
        assert_eq!(state.u32().unwrap(), 1);
        let error = state.u64().unwrap_err().to_string();
        assert!(
            error.starts_with("device serial: 2 bytes are left"),
            "{error}"
        );
        assert_eq!(state.bytes(1).unwrap(), [9]);
        let error = state.end().unwrap_err().to_string();
        assert!(error.ends_with("1 bytes too many"), "{error}");
    }
}
