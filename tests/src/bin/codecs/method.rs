// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A method, driven as a channel drives it.

use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use multifd_core::method::Accelerator;
use multifd_core::{MethodOptions, MultifdMethods, PageSize, Registry};
use multifd_tests::conformance::{pack, setup, unpack};

use crate::subject::{Codec, Memory, Sample, Subject, timed};

/// The method of this name at each of these levels that it has. `NAME:CHOICE` is one with this choice of
/// an accelerator.
pub(crate) fn subjects(
    wanted: &str,
    levels: &[u8],
    options: &MethodOptions,
) -> Result<Vec<Subject>> {
    let mut options = options.clone();
    let name = match wanted.split_once(':') {
        Some((name, choice)) => {
            options.set(Accelerator::OPTION, choice);
            name
        }
        None => wanted,
    };
    let registry = registry()?;
    let mut subjects = Vec::new();
    let mut refused = None;
    for level in levels {
        let options = options.clone().with(format!("multifd-{name}-level"), level);
        match registry.open(name, &options) {
            Ok(method) => subjects.push(Subject::new(format!("{wanted} {level}"), Method(method))),
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        // A level that it does not have is left out, if it has others.
        Some(error) if subjects.is_empty() => bail!("{error}; the methods are {registry:?}"),
        _ => Ok(subjects),
    }
}

fn registry() -> Result<Registry> {
    let mut registry = Registry::new();
    registry.register(multifd_none::NoneFactory)?;
    registry.register(multifd_zlib::ZlibFactory)?;
    registry.register(multifd_zstd::ZstdFactory)?;
    registry.register(multifd_qatzip::QatzipFactory)?;
    registry.register(multifd_qpl::QplFactory)?;
    registry.register(multifd_uadk::UadkFactory::default())?;
    Ok(registry)
}

struct Method(Arc<dyn MultifdMethods>);

impl Codec for Method {
    fn run(&mut self, memory: &Memory) -> Result<Sample> {
        let setup = setup(PageSize::X86)?;
        let mut sender = self.0.send_setup(&setup)?;
        let mut receiver = self.0.recv_setup(&setup)?;
        let mut sample = Sample::ZERO;
        for offsets in memory.offsets.chunks(PageSize::X86.pages_per_packet()) {
            let (payload, time) = timed(|| pack(&mut *sender, &memory.source, offsets));
            let payload = payload?;
            sample.compress += time;
            sample.bytes += payload.len();

            let (verdict, time) =
                timed(|| unpack(&mut *receiver, &payload, &memory.target, offsets));
            verdict?.filled()?;
            sample.decompress += time;
        }
        for offset in &memory.offsets {
            ensure!(
                memory.target.page(*offset)? == memory.source.page(*offset)?,
                "page {offset:#x} differs"
            );
            memory.target.write(*offset, &[0; 4096])?;
        }
        Ok(sample)
    }
}
