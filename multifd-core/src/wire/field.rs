//! Reading and writing the fields of a header at fixed offsets, without a way to panic.

use super::{COMMON_HEADER_LEN, MULTIFD_MAGIC, MULTIFD_VERSION, PacketFlags, WireError};

/// The `N` bytes at `offset`; zeros for what lies past the end.
///
/// Every caller knows the length of its header; the zeros only stand for what the type system
/// cannot see.
pub(super) fn bytes<const N: usize>(header: &[u8], offset: usize) -> [u8; N] {
    header
        .get(offset..)
        .and_then(|rest| rest.first_chunk::<N>())
        .copied()
        .unwrap_or([0; N])
}

pub(super) fn u32_at(header: &[u8], offset: usize) -> u32 {
    u32::from_be_bytes(bytes(header, offset))
}

pub(super) fn u64_at(header: &[u8], offset: usize) -> u64 {
    u64::from_be_bytes(bytes(header, offset))
}

/// Writes `value` at `offset`; what does not fit is not written.
pub(super) fn put(header: &mut [u8], offset: usize, value: &[u8]) {
    if let Some(field) = header
        .get_mut(offset..)
        .and_then(|rest| rest.get_mut(..value.len()))
    {
        field.copy_from_slice(value);
    }
}

/// Writes magic, version and flags.
pub(super) fn put_common(header: &mut [u8], flags: PacketFlags) {
    put(header, 0, &MULTIFD_MAGIC.to_be_bytes());
    put(header, 4, &MULTIFD_VERSION.to_be_bytes());
    put(header, 8, &flags.bits().to_be_bytes());
}

/// Checks magic and version of the first [`COMMON_HEADER_LEN`] bytes and answers the flags.
pub(super) fn check_common(header: &[u8; COMMON_HEADER_LEN]) -> Result<PacketFlags, WireError> {
    let magic = u32_at(header, 0);
    if magic != MULTIFD_MAGIC {
        return Err(WireError::Magic { got: magic });
    }
    let version = u32_at(header, 4);
    if version != MULTIFD_VERSION {
        return Err(WireError::Version { got: version });
    }
    Ok(PacketFlags::from_bits(u32_at(header, 8)))
}

/// The bytes of a NUL-padded name before its first NUL; all of it if there is none.
pub(super) fn name(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or(field)
}
