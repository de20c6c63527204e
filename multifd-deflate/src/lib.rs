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
mod decode;
mod encode;
mod level;
mod libdeflate;
mod open;
mod stored;
pub mod table;

pub use checksum::{adler32, crc32};
pub use decode::{DecodeError, Decoded, Decoder};
pub use encode::Encoder;
pub use level::Level;
pub use open::{Deflate, Isal, OpenError};
pub use stored::{store, stored_len};
