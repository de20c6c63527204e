// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The method uadk against other implementations of its format, and against a library in the place of
//! UADK's.

mod device;
mod fake;
mod format;
mod opening;
