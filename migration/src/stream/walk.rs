//! Walking through device state by the sizes of a VM description.

use super::device::SectionInfo;
use super::section::SectionType;
use super::vmdesc::Device;

/// Walks through sections that must be these devices, each with its size, and nothing else.
///
/// # Errors
/// Where it does not fit, in words.
pub(super) fn walk(sections: &[u8], devices: &[Device]) -> Result<Vec<SectionInfo>, String> {
    let mut cursor = Cursor {
        rest: sections,
        offset: 0,
    };
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

struct Cursor<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Cursor<'a> {
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
