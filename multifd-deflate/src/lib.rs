// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! DEFLATE (RFC 1951) as the formats of accelerators need it: a page, or up to 64 KiB of pages,
//! becomes one complete stream that stands alone.
//!
//! The methods `qatzip`, `qpl` and `uadk` put the same kind of stream into different frames. What
//! they share in software is here, so that they need not know each other.
//!
//! The payload of `qpl` and `uadk`, a table of lengths before the pages, is [`table`].
//!
//! A [`Deflate`] is opened once, on the host's thread. Each channel makes its [`Encoder`] or
//! [`Decoder`] of it on its own thread. These own all the memory that they need and open nothing.
//!
//! # What encodes
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
//! # What decodes
//!
//! libdeflate, always. It is faster than ISA-L at what is compressed here, and does not depend on what
//! is installed.
//!
//! # Example
//!
//! ```
//! use multifd_deflate::{Deflate, Isal, Level};
//!
//! let deflate = Deflate::open(&Isal::Auto)?;
//! let page = b"what a guest writes, ".repeat(195);
//! let mut stream = vec![0; page.len()];
//! let mut encoder = deflate.encoder(Level::FASTEST, page.len());
//! let length = encoder.encode(&page, &mut stream).expect("it becomes smaller");
//!
//! let mut decoded = vec![0; page.len()];
//! deflate.decoder().decode_exact(&stream[..length], &mut decoded)?;
//! assert!(decoded == page);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod checksum;
mod compressible;
mod decode;
mod encode;
mod fixed;
mod isal;
mod level;
mod libdeflate;
mod open;
mod page;
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
pub use stored::{Stream, store, stored_len};
