// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The main channel, both ways.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use multifd_core::PageSize;
use multifd_core::transport::{Transport, send_all};
use multifd_migration::stream::{Event, Incoming, RamPart, Reader, ReturnMessage, ReturnReader};

use super::Target;
use crate::network::{self, Endpoint, Link};

/// The stream that a destination reads.
pub(super) const MAIN_STREAM: Target = Target {
    name: "main_stream",
    run: |bytes| read(bytes).unwrap_or(false),
    seeds: || FOLDERS.iter().map(|name| recorded(name)).collect(),
};

/// The messages that a source reads.
pub(super) const RETURN_PATH: Target = Target {
    name: "return_path",
    run: |bytes| {
        let Ok(connection) = connection(bytes) else {
            return false;
        };
        let mut reader = ReturnReader::new(Box::new(connection));
        loop {
            match reader.next_message() {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    },
    seeds: || {
        let messages = [
            ReturnMessage::Pong(1),
            ReturnMessage::SwitchoverAck,
            ReturnMessage::Shut(0),
        ];
        Ok(vec![messages.map(ReturnMessage::encode).concat()])
    },
};

const FOLDERS: [&str; 3] = [
    "none-qemu-10.0",
    "none-legacy-zero-qemu-10.0",
    "zstd-per-section-qemu-10.0",
];

/// Answers whether the stream came to its end.
fn read(bytes: &[u8]) -> Result<bool> {
    let connection = connection(bytes)?;
    let reader = Reader::new(Box::new(connection), &[]);
    let mut incoming = Incoming::new(reader, PageSize::X86);
    loop {
        match incoming.next_event()? {
            Event::ZeroPage { block, offset } => {
                let block = incoming.blocks().get(block);
                assert!(block.is_some_and(|block| offset + 4096 <= block.used_length));
                assert!(offset % 4096 == 0);
            }
            Event::SectionEnd(RamPart::End) => break,
            _ => {}
        }
    }
    let tail = incoming.read_tail()?;
    assert!(tail.bytes.len() <= bytes.len());
    Ok(true)
}

/// A connection on which these bytes come, and then the end.
fn connection(bytes: &[u8]) -> Result<Endpoint> {
    let link = Link::default().capacity(bytes.len());
    let (mut source, destination, _) = network::pair(link, Link::default());
    send_all(&mut source as &mut dyn Transport, &mut [bytes.into()])?;
    Ok(destination)
}

/// The main channel of a recorded migration.
fn recorded(folder: &str) -> Result<Vec<u8>> {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let path = vectors.join(folder).join("main.bin");
    fs::read(&path).with_context(|| path.display().to_string())
}
