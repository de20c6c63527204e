// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whose the threads are on which a device may never answer.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use multifd_core::method::{Accelerator, CodecPath, Fallback, Spawn, StdThreads, ThreadKind};
use multifd_core::{ChannelSetup, MethodOptions, PageSize};
use multifd_tests::conformance::{Guest, pack, setup};
use multifd_tests::stand_in::StandIn;

use crate::members::{content, open};

#[test]
fn the_host_starts_them() -> Result<()> {
    let library = StandIn::qatzip(&[])?;
    let method = open(1, &options(&library, Accelerator::Hardware))?;
    let (host, setup) = Host::with(false)?;
    let (sender, receiver) = (method.send_setup(&setup)?, method.recv_setup(&setup)?);
    // What Linux keeps of a name is 15 bytes.
    let names = host.names()?;
    ensure!(names == ["multifd-dev-0", "multifd-dev-0"], "{names:?}");
    ensure!(
        host.ready.load(Ordering::Relaxed) == 2,
        "they may be confined"
    );
    drop((sender, receiver));
    Ok(())
}

/// Then a channel has no device.
#[test]
fn the_host_refuses_them() -> Result<()> {
    let library = StandIn::qatzip(&[])?;
    let (_, setup) = Host::with(true)?;
    let hardware = open(1, &options(&library, Accelerator::Hardware))?;
    let error = hardware.send_setup(&setup).err().context("it was set up")?;
    let want = "this channel has no device: no thread for it: ";
    ensure!(error.to_string().contains(want), "{error}");

    let auto = open(1, &options(&library, Accelerator::Auto))?;
    let mut sender = auto.send_setup(&setup)?;
    let guest = Guest::with(PageSize::X86, &content())?;
    pack(&mut *sender, &guest, &[0])?;
    let paths = sender.paths().context("paths")?;
    ensure!(paths.packets(CodecPath::Software) == 1, "{paths:?}");
    ensure!(paths.fallbacks(Fallback::NoDevice) == 1, "{paths:?}");
    Ok(())
}

fn options(library: &StandIn, choice: Accelerator) -> MethodOptions {
    MethodOptions::new()
        .with("qatzip-library", library.path().display())
        .with(Accelerator::OPTION, choice)
}

/// A host that remembers the names of the threads that it was asked for.
#[derive(Default)]
struct Host {
    names: Mutex<Vec<String>>,
    ready: AtomicUsize,
    refuses: bool,
}

impl Host {
    fn with(refuses: bool) -> Result<(Arc<Self>, ChannelSetup)> {
        let host = Arc::new(Self {
            refuses,
            ..Self::default()
        });
        let setup = setup(PageSize::X86)?.with_threads(Arc::clone(&host) as _);
        Ok((host, setup))
    }

    fn names(&self) -> Result<Vec<String>> {
        let names = self.names.lock().ok().context("a panic")?;
        Ok(names.clone())
    }
}

impl Spawn for Host {
    fn spawn(&self, thread: ThreadKind, body: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        if self.refuses {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if let Ok(mut names) = self.names.lock() {
            names.push(thread.to_string());
        }
        StdThreads.spawn(thread, body)
    }

    fn ready(&self, _: ThreadKind) -> io::Result<()> {
        self.ready.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
