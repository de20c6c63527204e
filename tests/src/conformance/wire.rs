// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A method without a channel: payloads as bytes.

use std::io;

use anyhow::{Context, Result, anyhow, ensure};
use multifd_core::memory::{IoVecList, IoVecMut};
use multifd_core::pages::{PageRuns, PayloadSource};
use multifd_core::{
    ChannelCount, ChannelSetup, MultifdMethods, PageSize, Payload, RecvMethod, Segments, SendMethod,
};

use super::Guest;

/// What a receiver said to a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It took it.
    Filled,
    /// It, or core's check of the size and of the end, refused it, with this error.
    Refused(String),
}

impl Verdict {
    /// Demands that the payload was taken.
    ///
    /// # Errors
    /// The receiver's, if it refused it.
    pub fn filled(self) -> Result<()> {
        match self {
            Self::Filled => Ok(()),
            Self::Refused(error) => Err(anyhow!("a good payload was refused: {error}")),
        }
    }
}

/// The set-up of a channel for pages of this size.
///
/// # Errors
/// None in practice.
pub fn setup(page_size: PageSize) -> Result<ChannelSetup> {
    let channel = ChannelCount::default().channel(0).context("channel 0")?;
    Ok(ChannelSetup::new(channel, page_size))
}

/// Makes the payload of the pages at `offsets`.
///
/// # Errors
/// The method's, or an offset outside of the guest.
pub fn pack(state: &mut dyn SendMethod, guest: &Guest, offsets: &[u64]) -> Result<Vec<u8>> {
    let mut runs = PageRuns::new(guest.page_size);
    runs.set(&guest.block, offsets)?;
    let mut list = IoVecList::default();
    let mut out = Segments::new(&mut list);
    state.send_prepare(&runs.pages(), &mut out)?;

    let mut payload = vec![0; out.bytes()];
    let mut done = 0;
    for vec in out.with_header(&[]) {
        done += vec.copy_to(payload.get_mut(done..).unwrap_or_default());
    }
    ensure!(
        done == payload.len(),
        "{done} bytes in pieces that say {}",
        payload.len()
    );
    Ok(payload)
}

/// Makes the payloads of all pages of a guest, through the state of one channel, with `per_packet`
/// pages in each but the last.
///
/// # Errors
/// The method's.
pub fn pack_all(
    method: &dyn MultifdMethods,
    guest: &Guest,
    per_packet: usize,
) -> Result<Vec<Vec<u8>>> {
    let mut sender = method.send_setup(&setup(guest.page_size)?)?;
    guest
        .offsets()
        .chunks(per_packet)
        .map(|offsets| pack(&mut *sender, guest, offsets))
        .collect()
}

/// Gives the payloads of all pages of a guest to the state of one channel, as [`pack_all`] makes
/// them, and answers what the first one that is refused was refused for.
///
/// # Errors
/// The receiver did not refuse, but filled the pages with something else than `want`'s.
pub fn unpack_all(
    method: &dyn MultifdMethods,
    payloads: &[Vec<u8>],
    want: &Guest,
    per_packet: usize,
) -> Result<Verdict> {
    let mut receiver = method.recv_setup(&setup(want.page_size)?)?;
    let offsets = want.offsets();
    let target = Guest::untouched(want.page_size, offsets.len())?;
    for (payload, offsets) in payloads.iter().zip(offsets.chunks(per_packet)) {
        let verdict = unpack(&mut *receiver, payload, &target, offsets)?;
        if verdict != Verdict::Filled {
            return Ok(verdict);
        }
    }
    target.ensure_received(want, &offsets)?;
    Ok(Verdict::Filled)
}

/// Gives a payload to a receiver, as a channel does: the size is checked first, and nothing may be
/// left at the end.
///
/// # Errors
/// An offset outside of the guest. What the receiver refuses is a [`Verdict`].
pub fn unpack(
    state: &mut dyn RecvMethod,
    payload: &[u8],
    guest: &Guest,
    offsets: &[u64],
) -> Result<Verdict> {
    let mut runs = PageRuns::new(guest.page_size);
    runs.set(&guest.block, offsets)?;
    let limits = state.payload_limits(offsets.len());
    if !limits.contains(&payload.len()) {
        let error = format!("{} bytes, wanted {limits:?}", payload.len());
        return Ok(Verdict::Refused(error));
    }
    let mut source = Bytes(payload);
    let mut payload = Payload::new(&mut source, payload.len());
    match state.recv(&mut payload, &runs.pages_mut()) {
        Ok(()) if payload.remaining() == 0 => Ok(Verdict::Filled),
        Ok(()) => Ok(Verdict::Refused(format!(
            "{} bytes were not read",
            payload.remaining()
        ))),
        Err(error) => Ok(Verdict::Refused(error.to_string())),
    }
}

/// A connection that ends after these bytes.
struct Bytes<'a>(&'a [u8]);

impl PayloadSource for Bytes<'_> {
    fn fill(&mut self, room: &mut [IoVecMut<'_>]) -> io::Result<()> {
        for vec in room {
            let count = vec.copy_from(self.0);
            if count < vec.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.0 = self.0.get(count..).unwrap_or_default();
        }
        Ok(())
    }
}
