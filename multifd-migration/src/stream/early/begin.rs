// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a section or a command can begin with.

use super::super::ids::CommandId;
use super::super::section::SectionType;

/// Whether bytes are the beginning of a section or a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// They are.
    Yes,
    /// They are not.
    No,
    /// So many bytes are needed to tell.
    Wants(usize),
}

/// Looks at the first bytes behind what may be a footer. `is_open` knows the ids of sections that may be
/// continued.
pub(super) fn beginning(bytes: &[u8], is_open: &dyn Fn(u32) -> bool) -> Beginning {
    let Some((kind, rest)) = bytes.split_first() else {
        return Beginning::Wants(1);
    };
    let known = match SectionType(*kind) {
        SectionType::START | SectionType::FULL => header(rest),
        SectionType::PART | SectionType::END => match rest.first_chunk() {
            Some(id) => Some(is_open(u32::from_be_bytes(*id))),
            None => return Beginning::Wants(1 + 4),
        },
        SectionType::COMMAND => match rest.first_chunk() {
            Some([id, id_low, len, len_low]) => {
                let id = CommandId(u16::from_be_bytes([*id, *id_low]));
                Some(id.may_have(u16::from_be_bytes([*len, *len_low])))
            }
            None => return Beginning::Wants(1 + 4),
        },
        _ => Some(false),
    };
    match known {
        Some(true) => Beginning::Yes,
        Some(false) => Beginning::No,
        None => Beginning::Wants(header_len(rest)),
    }
}

/// Whether a section's id, name, instance and version follow; `None` if too few bytes are there to tell.
fn header(rest: &[u8]) -> Option<bool> {
    let len = usize::from(*rest.get(4)?);
    let name = rest.get(5..)?;
    let name = name.get(..len).unwrap_or(name);
    if len == 0 || name.iter().any(u8::is_ascii_control) {
        return Some(false);
    }
    if name.len() < len {
        return None;
    }
    rest.get(5 + len + 8 - 1)?;
    Some(std::str::from_utf8(name).is_ok())
}

/// How many bytes a header has with the section's type, as far as that is known.
fn header_len(rest: &[u8]) -> usize {
    match rest.get(4) {
        Some(len) => 1 + 5 + usize::from(*len) + 8,
        None => 1 + 5,
    }
}
