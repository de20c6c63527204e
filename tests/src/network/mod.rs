// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A network in memory that misbehaves on request.
//!
//! [`pair`] makes one connection: two [`Endpoint`]s, which are transports, and a [`Tap`] on each
//! direction, through which a test watches it, holds bytes back, or cuts it. What goes wrong by
//! itself is said beforehand, by a [`Link`] for each direction; the same seed does the same again.
//!
//! ```
//! use multifd_core::transport::Transport;
//! use multifd_tests::network::{self, Ending, Link};
//!
//! let bad = Link::default().cut_after(3, Ending::Eof);
//! let (mut here, mut there, _taps) = network::pair(bad, Link::default());
//! assert_eq!(here.send(&[b"hello".as_slice().into()])?, 3);
//! let mut room = [0; 8];
//! assert_eq!(there.recv(&mut [room.as_mut_slice().into()])?, 3);
//! assert_eq!(there.recv(&mut [room.as_mut_slice().into()])?, 0);
//! # Ok::<(), std::io::Error>(())
//! ```

mod endpoint;
mod link;
mod pipe;
mod tap;
mod watchdog;

pub use endpoint::Endpoint;
pub use link::{Ending, Link, Pieces};
pub use tap::{Tap, Taps};
pub use watchdog::Watchdog;

use std::sync::Arc;

use pipe::Pipe;

/// One connection: two ends, and a tap on each direction. `forth` says how the direction from the
/// first end to the second one behaves, `back` the other one.
pub fn pair(forth: Link, back: Link) -> (Endpoint, Endpoint, Taps) {
    let (forth, back) = (Arc::new(Pipe::new(forth)), Arc::new(Pipe::new(back)));
    let taps = Taps {
        forth: Tap::new(Arc::clone(&forth)),
        back: Tap::new(Arc::clone(&back)),
    };
    let first = Endpoint::new(Arc::clone(&forth), Arc::clone(&back));
    let second = Endpoint::new(back, forth);
    (first, second, taps)
}
