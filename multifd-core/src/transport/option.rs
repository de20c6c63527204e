// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Options of sockets.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The length of a socket option's value.
#[expect(clippy::cast_possible_truncation, reason = "asserted")]
pub(super) const fn len_of<T>(_: &T) -> libc::socklen_t {
    const { assert!(size_of::<T>() <= libc::socklen_t::MAX as usize) };
    size_of::<T>() as libc::socklen_t
}

/// Sets an option, with its level, that is a number.
pub(super) fn set_option(
    socket: BorrowedFd<'_>,
    option: (libc::c_int, libc::c_int),
    value: libc::c_int,
) -> io::Result<()> {
    set_plain_option(socket, option, value)
}

/// Sets an option, with its level, that is a number or a structure of numbers.
pub(super) fn set_plain_option<T>(
    socket: BorrowedFd<'_>,
    (level, name): (libc::c_int, libc::c_int),
    value: T,
) -> io::Result<()> {
    let len = len_of(&value);
    // SAFETY: the pointer and the length describe `value`, which lives over the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            len,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Reads an option, with its level, that is a number.
pub(super) fn option(
    socket: BorrowedFd<'_>,
    (level, name): (libc::c_int, libc::c_int),
) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut len = len_of(&value);
    // SAFETY: the pointers describe `value` and `len`, which live over the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw mut value).cast(),
            &mut len,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(value)
    }
}
