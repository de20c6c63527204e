// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a source tells its destination before the migration, in a form of the VMM's own.

use anyhow::{Context, Result, ensure};
use multifd_core::memory::{IoVec, IoVecMut};
use multifd_core::transport::{Transport, recv_all, send_all};

/// A machine, and how it is migrated.
pub(crate) struct Config {
    pub(crate) method: String,
    pub(crate) channels: u8,
    /// Where each region begins in the guest's address space, and its length.
    pub(crate) regions: Vec<(u64, u64)>,
}

impl Config {
    /// Says it on the main connection, and waits until the other side has made the machine.
    pub(crate) fn send(&self, main: &mut dyn Transport) -> Result<()> {
        let regions = self.regions.iter();
        let regions: String = regions.map(|(at, len)| format!(" {at}+{len}")).collect();
        let text = format!("{} {}{regions}", self.method, self.channels);
        let len = u32::try_from(text.len())?.to_be_bytes();
        send_all(main, &mut [IoVec::from(&len[..]), text.as_bytes().into()])?;
        ensure!(
            recv(main, READY.len())? == READY,
            "there is no such machine"
        );
        Ok(())
    }

    /// Hears it. The engine has not seen the connection yet.
    pub(crate) fn recv(main: &mut dyn Transport) -> Result<Self> {
        let len = recv(main, 4)?.try_into().ok().context("four bytes")?;
        let len = usize::try_from(u32::from_be_bytes(len))?;
        ensure!(
            len <= MOST,
            "a configuration of {len} bytes, at most {MOST}"
        );
        let text = String::from_utf8(recv(main, len)?)?;
        let mut words = text.split(' ');
        let method = words.next().context("a method")?.to_owned();
        let channels = words.next().context("channels")?.parse()?;
        let region = |word: &str| -> Result<_> {
            let (at, len) = word.split_once('+').context("a region")?;
            Ok((at.parse()?, len.parse()?))
        };
        let regions = words.map(region).collect::<Result<_>>()?;
        Ok(Self {
            method,
            channels,
            regions,
        })
    }

    pub(crate) fn answer(main: &mut dyn Transport) -> Result<()> {
        Ok(send_all(main, &mut [IoVec::from(READY)])?)
    }
}

fn recv(main: &mut dyn Transport, len: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    ensure!(
        recv_all(main, &mut [IoVecMut::from(&mut bytes[..])])?,
        "nothing more"
    );
    Ok(bytes)
}

const READY: &[u8] = b"ready";
/// The length is the peer's number.
const MOST: usize = 64 * 1024;
