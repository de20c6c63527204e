// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

#![doc = include_str!("../README.md")]
//!
//! The payload of `qpl` and `uadk`, a table of lengths before the pages, is [`table`].
//!
//! A [`Deflate`] is opened once, on the host's thread. Each channel makes its [`Encoder`] or
//! [`Decoder`] of it on its own thread. These own all the memory that they need and open nothing.
//!
//! ## What encodes
//!
//! | level | content | with ISA-L | without |
//! |---|---|---|---|
//! | 1 | up to 4 KiB | ISA-L's level 0, fixed codes | this crate's `fixed`: one pass, fixed codes |
//! | 1 | longer | ISA-L's level 2 | libdeflate's level 1 |
//! | 2 to 9 | any | libdeflate's level of the same number | the same |
//!
//! ISA-L is twice as fast as libdeflate on 64 KiB. It is `libisal.so.2`, found at run time: most
//! distributions have it, and to build it takes an assembler and autotools, which not every machine
//! has that builds Rust and C. So no crate that builds it or links to it is used. Without it nothing is
//! lost but speed.
//!
//! On a single page, libdeflate at level 1 takes three times as long as ISA-L, nearly all of it to make codes
//! for 4 KiB. There is no other library for that, so this crate has an encoder with fixed codes.
//!
//! Parts of a stream that never ends, which is what `zlib` sends ([`PartEncoder`]):
//!
//! | level | with ISA-L | without |
//! |---|---|---|
//! | 1 | ISA-L's level 2, flushed | libdeflate's level 1 on pieces of 48 KiB, their ends cut off |
//! | 2 to 9 | zlib-rs's level of the same number | the same |
//!
//! libdeflate cannot flush. At its level 1 it makes as little of such pieces as zlib does at its level 1 of one stream,
//! while zlib-rs's level 1 makes a quarter more.
//!
//! ## What decodes
//!
//! libdeflate, always. It is faster than ISA-L at what is compressed here, and does not depend on what
//! is installed.

mod checksum;
mod compressible;
mod cut;
mod decode;
mod encode;
mod fixed;
mod isal;
mod level;
mod libdeflate;
mod open;
mod page;
mod part;
mod stored;
pub mod table;
pub mod zlib_header;

pub use checksum::{adler32, crc32};
pub use compressible::{CompressibleRun, PIECE, compressible_runs, is_compressible};
pub use decode::{DecodeError, Decoder};
pub use encode::Encoder;
pub use level::Level;
pub use libdeflate::Decoded;
pub use open::{Deflate, Isal, OpenError};
pub use page::PageEncoder;
pub use part::PartEncoder;
pub use stored::{Stream, store, stored_len};
