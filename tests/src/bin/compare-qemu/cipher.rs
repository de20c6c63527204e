// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What TLS cannot do without: encrypting and decrypting as many bytes, and nothing else.

use std::time::Duration;

use anyhow::{Result, anyhow};
use multifd_tests::measured::own_cpu_time;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// Returns the CPU time that AES-256-GCM takes for `bytes`, in full records on both sides: the fastest that TLS could
/// be with this cipher. The records stay in the processor's cache, and nobody copies or sends them.
pub(crate) fn own_time(bytes: u64) -> Result<Duration> {
    let key = [7; 32];
    let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| anyhow!("no key"))?;
    let key = LessSafeKey::new(key);
    let plain: Vec<u8> = (0..RECORD).map(|at| at.to_le_bytes()[0]).collect();
    let mut record = plain.clone();
    let before = own_cpu_time()?;
    for number in 0..bytes.div_ceil(u64::try_from(RECORD)?) {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&number.to_be_bytes());
        let nonce = || Nonce::assume_unique_for_key(nonce);
        // As a record of TLS 1.3 has it: type, version and length.
        let header = || Aad::from([23_u8, 3, 3, 0x40, 0x11]);
        let tag = key.seal_in_place_separate_tag(nonce(), header(), &mut record);
        let tag = tag.map_err(|_| anyhow!("record {number} is not sealed"))?;
        record.extend_from_slice(tag.as_ref());
        let opened = key.open_in_place(nonce(), header(), &mut record);
        opened.map_err(|_| anyhow!("record {number} is not opened"))?;
        record.truncate(RECORD);
    }
    let taken = own_cpu_time()?.saturating_sub(before);
    anyhow::ensure!(record == plain, "other bytes were opened");
    Ok(taken)
}

/// As much as a record of TLS holds.
const RECORD: usize = 16 << 10;
