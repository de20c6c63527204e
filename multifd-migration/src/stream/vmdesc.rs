// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The VM description: JSON that says what device state came before it.
//!
//! ```json
//! {"configuration": {}, "page_size": 4096, "devices": [
//!     {"name": "timer", "instance_id": 0, "vmsd_name": "timer", "version": 2,
//!      "fields": [{"name": "cpu_ticks_offset", "type": "int64", "size": 8}],
//!      "subsections": [{"vmsd_name": "timer/more", "version": 1, "fields": []}]}
//! ]}
//! ```
//!
//! There is one device for each FULL section, in the order of the stream; RAM is not in it. The bytes
//! of a device's state are the sum over its fields of `size`, times `array_len` where there is one,
//! and over its sub-sections of 6, the length of `vmsd_name`, and the bytes of the sub-section. A field
//! that is a structure has a size that counts what is in it.

use std::fmt;
use std::marker::PhantomData;

use multifd_core::PageSize;
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde_json::{Value, json};

use super::DeviceSection;

/// A device as the description has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) name: String,
    pub(super) instance: u32,
    /// Bytes of its state.
    pub(super) size: u64,
}

/// A section that is to be described.
#[derive(Clone, Debug)]
pub(super) struct Described {
    pub(super) name: String,
    pub(super) instance: u32,
    pub(super) version: u32,
    pub(super) size: u64,
}

/// Most devices of a VM description. A large machine has five for each of its vCPUs.
pub const MAX_DEVICES: usize = 64 * 1024;

/// Reads a description. Only the sums of sizes are kept, so the memory it takes is small against the
/// text.
pub(super) fn parse(text: &[u8]) -> serde_json::Result<Vec<Device>> {
    serde_json::from_slice::<Description>(text).map(|description| description.devices)
}

/// The description of opaque sections: each device has one field, `data`.
pub(super) fn generate(
    machine: &str,
    page_size: PageSize,
    sections: impl Iterator<Item = Described>,
) -> Vec<u8> {
    let devices: Vec<Value> = sections
        .map(|section| {
            json!({
                "name": section.name,
                "instance_id": section.instance,
                "vmsd_name": section.name,
                "version": section.version,
                "fields": [{"name": "data", "type": "buffer", "size": section.size}],
            })
        })
        .collect();
    let description = json!({
        "configuration": {
            "vmsd_name": "configuration",
            "version": 1,
            "fields": [
                {"name": "len", "type": "uint32", "size": 4},
                {"name": "name", "type": "buffer", "size": machine.len()},
            ],
        },
        "page_size": page_size.bytes(),
        "devices": devices,
    });
    description.to_string().into_bytes()
}

impl Described {
    pub(super) fn of(section: &DeviceSection) -> Self {
        Self {
            name: section.name.clone(),
            instance: section.instance,
            version: section.version,
            size: section.data.len() as u64,
        }
    }
}

#[derive(Deserialize)]
struct Description {
    #[serde(deserialize_with = "up_to_max_devices")]
    devices: Vec<Device>,
}

#[derive(Deserialize)]
struct DescribedDevice {
    name: String,
    instance_id: u32,
    #[serde(default)]
    fields: Sum<Field>,
    #[serde(default)]
    subsections: Sum<Subsection>,
}

#[derive(Deserialize)]
struct Field {
    size: u64,
    array_len: Option<u64>,
}

#[derive(Deserialize)]
struct Subsection {
    vmsd_name: String,
    #[serde(default)]
    fields: Sum<Field>,
    #[serde(default)]
    subsections: Sum<Subsection>,
}

/// The bytes that the elements of a list take in the stream.
struct Sum<T> {
    bytes: u64,
    elements: PhantomData<T>,
}

trait Bytes {
    /// How many bytes this takes in the stream; `None` if that is no number of 64 bits.
    fn bytes(&self) -> Option<u64>;
}

impl Bytes for Field {
    fn bytes(&self) -> Option<u64> {
        self.size.checked_mul(self.array_len.unwrap_or(1))
    }
}

impl Bytes for Subsection {
    fn bytes(&self) -> Option<u64> {
        // 1 for the type, 1 for the length of the name, 4 for the version.
        u64::try_from(self.vmsd_name.len())
            .ok()?
            .checked_add(6)?
            .checked_add(self.fields.bytes)?
            .checked_add(self.subsections.bytes)
    }
}

impl<T> Default for Sum<T> {
    fn default() -> Self {
        Self {
            bytes: 0,
            elements: PhantomData,
        }
    }
}

impl<'de, T: Bytes + Deserialize<'de>> Deserialize<'de> for Sum<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(SumVisitor(PhantomData))
    }
}

struct SumVisitor<T>(PhantomData<T>);

impl<'de, T: Bytes + Deserialize<'de>> Visitor<'de> for SumVisitor<T> {
    type Value = Sum<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of fields or sub-sections")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Sum<T>, A::Error> {
        let mut sum = Sum::default();
        while let Some(element) = list.next_element::<T>()? {
            sum.bytes = element
                .bytes()
                .and_then(|bytes| sum.bytes.checked_add(bytes))
                .ok_or_else(|| A::Error::custom("sizes of more than 64 bits"))?;
        }
        Ok(sum)
    }
}

fn up_to_max_devices<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Device>, D::Error> {
    deserializer.deserialize_seq(DeviceVisitor)
}

struct DeviceVisitor;

impl<'de> Visitor<'de> for DeviceVisitor {
    type Value = Vec<Device>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of up to {MAX_DEVICES} devices")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Device>, A::Error> {
        let mut devices = Vec::new();
        while let Some(device) = list.next_element::<DescribedDevice>()? {
            if devices.len() >= MAX_DEVICES {
                return Err(A::Error::invalid_length(devices.len() + 1, &self));
            }
            // On the wire one byte has the length of a name.
            if device.name.len() > usize::from(u8::MAX) {
                return Err(A::Error::invalid_length(device.name.len(), &"a name"));
            }
            let size = device.fields.bytes.checked_add(device.subsections.bytes);
            devices.push(Device {
                name: device.name,
                instance: device.instance_id,
                size: size.ok_or_else(|| A::Error::custom("sizes of more than 64 bits"))?,
            });
        }
        Ok(devices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_limits() {
        for (count, name_len, fits) in [
            (MAX_DEVICES, 3, true),
            (MAX_DEVICES + 1, 3, false),
            (1, 255, true),
            (1, 256, false),
        ] {
            let name = "x".repeat(name_len);
            let devices = vec![json!({"name": name, "instance_id": 0}); count];
            let text = json!({"devices": devices}).to_string();
            let parsed = parse(text.as_bytes());
            assert_eq!(parsed.is_ok(), fits, "{count} devices, {name_len} bytes");
        }
    }

    #[test]
    fn sizes_do_not_wrap() {
        let max = u64::MAX;
        for fields in [
            json!([{"size": max}, {"size": 1}]),
            json!([{"size": max, "array_len": 2}]),
            json!([{"size": -1}]),
            json!([{"size": 1.5}]),
            json!([{}]),
        ] {
            let device = json!({"name": "a", "instance_id": 0, "fields": fields});
            let text = json!({"devices": [device]}).to_string();
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn structures_and_subsections_are_counted() {
        let text = br#"{"devices": [{"name": "a", "instance_id": 4294967295, "version": 1,
            "fields": [{"name": "x", "type": "struct", "size": 10, "array_len": 3,
                        "struct": {"vmsd_name": "s", "fields": [{"name": "y", "size": 10}]}}],
            "subsections": [{"vmsd_name": "a/b", "version": 1, "fields": [{"size": 2}],
                             "subsections": [{"vmsd_name": "a/b/c", "fields": []}]}]}]}"#;
        let device = Device {
            name: "a".to_owned(),
            instance: u32::MAX,
            size: 30 + (6 + 3 + 2) + (6 + 5),
        };
        assert_eq!(parse(text).unwrap(), [device]);
    }

    #[test]
    fn deep_nesting_is_refused() {
        let nested = r#"{"vmsd_name":"a","subsections":["#.repeat(100_000);
        let text = format!(r#"{{"devices":[{{"name":"a","instance_id":0,"subsections":[{nested}"#);
        assert!(parse(text.as_bytes()).is_err());
        let ignored = format!(r#"{{"other":{}"#, "[".repeat(1_000_000));
        assert!(parse(ignored.as_bytes()).is_err());
    }
}
