// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Others who knock at relays.

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use multifd_core::wire::{InitPacket, Uuid};
use multifd_tests::streams::Random;

use crate::strangers::{HTTP, TLS};

/// Connects again and again, one time here and one time there, until it `is_over`; answers how often.
pub(super) fn knock(
    addresses: [&str; 2],
    mut random: Random,
    is_over: &AtomicBool,
) -> Result<usize> {
    let mut held: VecDeque<Slow> = VecDeque::new();
    let mut count = 0;
    while !is_over.load(Ordering::Relaxed) {
        let address = addresses.get(random.below(2)).unwrap_or(&"");
        let mut stray = TcpStream::connect(address.trim_start_matches("tcp:"))?;
        count += 1;
        let said = says(&mut random);
        match random.below(4) {
            // Dropped it is reset, with something unread.
            0 => rustix::net::sockopt::set_socket_linger(&stray, Some(Duration::ZERO))?,
            // It may have been closed already.
            1 => stray.write_all(&said).unwrap_or_default(),
            _ => held.push_back(Slow { stray, said }),
        }
        for slow in &mut held {
            slow.goes_on();
        }
        if held.len() > HELD {
            held.pop_front();
        }
        thread::sleep(Duration::from_millis(1 + random.number() % 20));
    }
    Ok(count)
}

/// What no source says, or what one says of whom there is no more.
fn says(random: &mut Random) -> Vec<u8> {
    let uuid = Uuid(u128::from(random.number()).to_be_bytes());
    let number = random.number().to_be_bytes();
    match random.below(7) {
        0 => HTTP.to_vec(),
        1 => TLS.to_vec(),
        2 => number.to_vec(),
        3 => b"QEVM".to_vec(),
        4 => InitPacket { uuid, channel: 0 }.encode().to_vec(),
        // The head of a main stream, and no channels.
        5 => b"QEVM\0\0\0\x03\x07\0\0\0\x02pc\x01".to_vec(),
        _ => Vec::new(),
    }
}

/// One that says a byte at a time, and stays.
struct Slow {
    stray: TcpStream,
    said: Vec<u8>,
}

impl Slow {
    fn goes_on(&mut self) {
        if !self.said.is_empty() {
            let byte = self.said.remove(0);
            // It may have been closed already.
            let _ = self.stray.write_all(&[byte]);
        }
    }
}

/// So many stay at once.
const HELD: usize = 40;
