// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The types of single values: what each accepts, how it is read from text and printed.
//! Imports nothing from the rest of the crate.

pub(crate) mod bounded;
pub(crate) mod cache_size;
pub(crate) mod choice;
pub(crate) mod error;
pub(crate) mod number;
pub(crate) mod tls_name;
pub(crate) mod value;
