// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Payloads that real QEMUs made are received.

use anyhow::{Context, Result, ensure};
use multifd_core::{MethodFactory, MethodOptions, PageSize};
use multifd_tests::conformance::recorded::{Folder, packets};
use multifd_tests::conformance::{Guest, setup, unpack};

#[test]
fn none() -> Result<()> {
    receive("none-qemu-10.0", &multifd_none::NoneFactory, 172)
}

#[test]
fn none_with_zero_pages_elsewhere() -> Result<()> {
    receive("none-legacy-zero-qemu-10.0", &multifd_none::NoneFactory, 0)
}

#[test]
fn zlib() -> Result<()> {
    receive("zlib-qemu-10.0", &multifd_zlib::ZlibFactory, 172)
}

#[test]
fn zstd() -> Result<()> {
    receive("zstd-qemu-10.0", &multifd_zstd::ZstdFactory, 172)
}

#[test]
fn zstd_with_many_barriers() -> Result<()> {
    receive(
        "zstd-per-section-qemu-10.0",
        &multifd_zstd::ZstdFactory,
        172,
    )
}

#[test]
fn qatzip() -> Result<()> {
    receive("qatzip-qemu-10.2", &multifd_qatzip::QatzipFactory, 172)
}

#[test]
fn qpl() -> Result<()> {
    receive("qpl-qemu-10.2", &multifd_qpl::QplFactory, 172)
}

/// Receives both channels of a recorded migration, of which the packets list `zero` zero pages.
fn receive(folder: &str, factory: &dyn MethodFactory, zero: usize) -> Result<()> {
    let method = factory.open(&MethodOptions::new())?;
    let source = Guest::with(PageSize::X86, &Folder::memory()?)?;
    // Zero pages have no payload: here they are zero from the start.
    let target = Guest::new(PageSize::X86, source.offsets().len())?;
    let (mut normal_pages, mut zero_pages) = (0, 0);
    for channel in 0..2 {
        let mut receiver = method.recv_setup(&setup(PageSize::X86)?)?;
        let packets = packets(&Folder::new(folder).channel(channel)?)?;
        for (number, packet) in packets.iter().enumerate() {
            normal_pages += packet.normal.len();
            zero_pages += packet.zero.len();
            if packet.normal.is_empty() {
                continue;
            }
            ensure!(
                packet.method == method.id(),
                "a packet of {}",
                packet.method
            );
            unpack(&mut *receiver, &packet.payload, &target, &packet.normal)?
                .filled()
                .with_context(|| format!("channel {channel}, packet {number}"))?;
        }
    }
    ensure!(
        (normal_pages, zero_pages) == (852, zero),
        "{normal_pages} normal, {zero_pages} zero"
    );
    target.ensure_received(&source, &source.offsets())
}
