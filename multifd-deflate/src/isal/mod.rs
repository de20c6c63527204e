// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! ISA-L's compressor, from the library that the system has.
//!
//! `libisal.so.2` is loaded at run time and not linked or built: there are machines without it, and to
//! build it takes an assembler and autotools that a machine with cargo and a C compiler may lack.
//! Only its encoder is used. libdeflate decodes what these formats hold faster than ISA-L's decoder.

#![allow(
    unsafe_code,
    reason = "calls of a C library that is loaded at run time"
)]

mod abi;
mod encoder;
mod library;
mod trial;

pub(crate) use encoder::{IsalEncoder, Mode};
pub(crate) use library::Library;
