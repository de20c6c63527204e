// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Packets of a guest with pages of another size than this side's, told for what they are.
//!
//! Nothing in a packet says how long its pages are, but its header is as long as they make it: the next packet then
//! begins inside of what is taken for this header, or some zeros behind it.

use crate::geometry::PageSize;
use crate::wire::{COMMON_HEADER_LEN, MULTIFD_MAGIC, MULTIFD_VERSION, WireError, ram_header_len};

/// Looks at the header of a packet without pages, in which the places of offsets are not used.
pub(super) fn check_empty(header: &[u8], want: PageSize) -> Result<(), WireError> {
    let next = [MULTIFD_MAGIC.to_be_bytes(), MULTIFD_VERSION.to_be_bytes()].concat();
    let begins_at = |size: PageSize| {
        let rest = header.get(ram_header_len(size)..);
        rest.is_some_and(|rest| rest.starts_with(&next))
    };
    match PageSize::ALL.into_iter().find(|size| begins_at(*size)) {
        Some(got) => Err(WireError::PageSize {
            got: Some(got),
            want,
        }),
        None => Ok(()),
    }
}

/// What stands where a packet should begin, behind one without pages: zeros that belong to that one's header.
pub(super) fn check_next(
    common: &[u8; COMMON_HEADER_LEN],
    want: PageSize,
) -> Result<(), WireError> {
    if *common == [0; COMMON_HEADER_LEN] {
        return Err(WireError::PageSize { got: None, want });
    }
    Ok(())
}

/// Most pages of a packet are said in it as well, by some sources in each.
pub(super) fn explain(error: WireError, want: PageSize) -> WireError {
    let WireError::Count {
        what: "pages_alloc",
        got,
        ..
    } = error
    else {
        return error;
    };
    let of_so_many = |size: &PageSize| usize::try_from(got) == Ok(size.pages_per_packet());
    match PageSize::ALL.into_iter().find(of_so_many) {
        Some(size) => WireError::PageSize {
            got: Some(size),
            want,
        },
        None => error,
    }
}
