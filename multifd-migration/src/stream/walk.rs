// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Walking through device state by the sizes of a VM description.

use super::device::SectionInfo;
use super::section::SectionType;
use super::vmdesc::Device;

/// Walks through sections that must be these devices, each with its size, and nothing else but the ends of
/// sections that began before. Up to `early` of the first devices may have come before these sections.
///
/// # Errors
/// Where it does not fit, in words.
pub(super) fn walk(
    sections: &[u8],
    devices: &[Device],
    early: usize,
) -> Result<Vec<SectionInfo>, String> {
    let mut cursor = Cursor {
        rest: sections,
        offset: 0,
    };
    let is_first = |bytes: &[u8]| first_device(bytes, devices, early).is_some();
    cursor.skip_ends(&is_first)?;
    let devices = first_device(cursor.rest, devices, early).unwrap_or(devices);
    let mut infos = Vec::new();
    for (number, device) in devices.iter().enumerate() {
        let at = cursor.offset;
        let info = cursor.section(device).map_err(|why| {
            let name = &device.name;
            format!("section {number} at byte {at:#x} of the device state, {name:?}: {why}")
        })?;
        infos.push(info);
    }
    match cursor.rest.len() {
        0 => Ok(infos),
        more => Err(format!("{more} bytes follow the last section that it has")),
    }
}

/// Whether a section is at the front that continues another.
fn is_continued(bytes: &[u8]) -> bool {
    let kind = bytes.first().copied().map(SectionType);
    matches!(kind, Some(SectionType::PART | SectionType::END))
}

struct Cursor<'a> {
    rest: &'a [u8],
    offset: usize,
}

/// The devices from the one on whose section is at the front, if it is one of the first.
fn first_device<'d>(bytes: &[u8], devices: &'d [Device], early: usize) -> Option<&'d [Device]> {
    (0..=early.min(devices.len())).find_map(|at| {
        let rest = devices.get(at..)?;
        let is_front = match rest.first() {
            Some(device) => is_section(bytes, device),
            None => bytes.is_empty(),
        };
        is_front.then_some(rest)
    })
}

/// Whether the FULL section of a device is at the front.
fn is_section(bytes: &[u8], device: &Device) -> bool {
    let Some(([kind, _, _, _, _, len], rest)) = bytes.split_first_chunk() else {
        return false;
    };
    *kind == SectionType::FULL.0
        && rest
            .split_at_checked(usize::from(*len))
            .is_some_and(|(name, rest)| {
                name == device.name.as_bytes() && rest.starts_with(&device.instance.to_be_bytes())
            })
}

impl<'a> Cursor<'a> {
    /// Skips sections that continue those from before. Nothing says how long they are: each is taken to end at its
    /// footer, if another one follows or what `is_first` knows.
    fn skip_ends(&mut self, is_first: &dyn Fn(&[u8]) -> bool) -> Result<(), String> {
        while is_continued(self.rest) {
            let at = self.offset;
            let [_, id @ ..]: [u8; 5] = self.array()?;
            let mut footer = vec![SectionType::FOOTER.0];
            footer.extend(id);
            let len = self
                .rest
                .windows(footer.len())
                .enumerate()
                .filter(|(_, window)| *window == footer)
                .map(|(at, _)| at + footer.len())
                .find(|end| {
                    let rest = self.rest.get(*end..).unwrap_or_default();
                    is_continued(rest) || is_first(rest)
                })
                .ok_or_else(|| {
                    let id = u32::from_be_bytes(id);
                    format!("no end of section {id:#x} at byte {at:#x} of the device state")
                })?;
            self.take(len as u64)?;
        }
        Ok(())
    }

    fn section(&mut self, device: &Device) -> Result<SectionInfo, String> {
        let [kind] = self.array()?;
        if kind != SectionType::FULL.0 {
            return Err(format!("its type is {kind:#x}, wanted 0x4, FULL"));
        }
        let id = self.u32()?;
        let [len] = self.array()?;
        let name = self.take(u64::from(len))?;
        if name != device.name.as_bytes() {
            return Err(format!("its name is {:?}", String::from_utf8_lossy(name)));
        }
        let instance = self.u32()?;
        if instance != device.instance {
            let want = device.instance;
            return Err(format!("its instance is {instance}, wanted {want}"));
        }
        let version = self.u32()?;
        let offset = self.offset;
        let len = self.take(device.size)?.len();
        let ([mark], footer) = (self.array()?, self.u32()?);
        if mark != SectionType::FOOTER.0 || footer != id {
            return Err(format!(
                "no footer of section {id:#x} behind its {len} bytes"
            ));
        }
        Ok(SectionInfo {
            id,
            idstr: device.name.clone(),
            instance,
            version,
            offset,
            len,
        })
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], String> {
        let (taken, rest) = usize::try_from(len)
            .ok()
            .and_then(|len| self.rest.split_at_checked(len))
            .ok_or_else(|| {
                let left = self.rest.len();
                format!("{left} bytes of {len} are left")
            })?;
        self.rest = rest;
        self.offset += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self
            .rest
            .split_first_chunk()
            .ok_or_else(|| format!("{} bytes of {N} are left", self.rest.len()))?;
        self.rest = rest;
        self.offset += N;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_be_bytes)
    }
}
