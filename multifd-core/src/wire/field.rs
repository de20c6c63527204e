// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Reading and writing the fields of a header at fixed offsets.
//!
//! A header is an array, and a field that is not wholly inside it does not compile.

use super::block_name::{BlockName, NAME_FIELD_LEN};
use super::error::WireError;
use super::flags::{COMMON_HEADER_LEN, MULTIFD_MAGIC, MULTIFD_VERSION, PacketFlags};

/// The `N` bytes at `AT`.
pub(super) fn part<const AT: usize, const N: usize, const LEN: usize>(header: &[u8; LEN]) -> &[u8] {
    const { assert!(AT + N <= LEN, "a field outside its header") };
    header.split_at(AT).1.split_at(N).0
}

/// The `N` bytes at `AT`, as an array.
pub(super) fn bytes<const AT: usize, const N: usize, const LEN: usize>(
    header: &[u8; LEN],
) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(part::<AT, N, LEN>(header));
    field
}

pub(super) fn u32_at<const AT: usize, const LEN: usize>(header: &[u8; LEN]) -> u32 {
    u32::from_be_bytes(bytes::<AT, 4, LEN>(header))
}

pub(super) fn u64_at<const AT: usize, const LEN: usize>(header: &[u8; LEN]) -> u64 {
    u64::from_be_bytes(bytes::<AT, 8, LEN>(header))
}

/// Writes `value` at `AT`.
pub(super) fn put<const AT: usize, const N: usize, const LEN: usize>(
    header: &mut [u8; LEN],
    value: [u8; N],
) {
    const { assert!(AT + N <= LEN, "a field outside its header") };
    let (_, rest) = header.split_at_mut(AT);
    rest.split_at_mut(N).0.copy_from_slice(&value);
}

/// Writes a name at `AT`, padded with NULs.
///
/// # Errors
/// The name leaves no room for a NUL.
pub(super) fn put_name<const AT: usize, const LEN: usize>(
    header: &mut [u8; LEN],
    name: &[u8],
) -> Result<(), WireError> {
    let mut field = [0; NAME_FIELD_LEN];
    let place = field.get_mut(..name.len());
    let place = place.filter(|_| name.len() <= BlockName::MAX_LEN);
    place
        .ok_or(WireError::NameNotTerminated)?
        .copy_from_slice(name);
    put::<AT, NAME_FIELD_LEN, LEN>(header, field);
    Ok(())
}

/// Writes the name of a block at `AT`, padded with NULs.
pub(super) fn put_block_name<const AT: usize, const LEN: usize>(
    header: &mut [u8; LEN],
    name: &BlockName,
) {
    const { assert!(BlockName::MAX_LEN < NAME_FIELD_LEN) };
    let mut field = [0; NAME_FIELD_LEN];
    for (place, byte) in field.iter_mut().zip(name.as_str().bytes()) {
        *place = byte;
    }
    put::<AT, NAME_FIELD_LEN, LEN>(header, field);
}

/// Writes magic, version and flags.
pub(super) fn put_common<const LEN: usize>(header: &mut [u8; LEN], flags: PacketFlags) {
    put::<0, 4, LEN>(header, MULTIFD_MAGIC.to_be_bytes());
    put::<4, 4, LEN>(header, MULTIFD_VERSION.to_be_bytes());
    put::<8, 4, LEN>(header, flags.bits().to_be_bytes());
}

impl PacketFlags {
    /// Reads the flags of a packet from what all packets start with.
    ///
    /// # Errors
    /// A magic or a version that is not multifd's.
    pub fn read(header: &[u8; COMMON_HEADER_LEN]) -> Result<Self, WireError> {
        let magic = u32_at::<0, _>(header);
        if magic != MULTIFD_MAGIC {
            return Err(WireError::Magic { got: magic });
        }
        let version = u32_at::<4, _>(header);
        if version != MULTIFD_VERSION {
            return Err(WireError::Version { got: version });
        }
        Ok(Self::from_bits(u32_at::<8, _>(header)))
    }
}

/// The bytes of a NUL-padded name before its first NUL; all of it if there is none.
pub(super) fn name(field: &[u8]) -> &[u8] {
    match field.iter().position(|byte| *byte == 0) {
        Some(len) => field.split_at(len).0,
        None => field,
    }
}
