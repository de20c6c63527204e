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

use multifd_core::PageSize;

use super::DeviceSection;
use super::json::{Json, Quoted};

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

/// Reads a description; `None` if it is none. Only the sums of sizes are kept, so the memory it takes is
/// small against the text.
pub(super) fn parse(text: &[u8]) -> Option<Vec<Device>> {
    Json::read(text, |json| {
        let mut devices = None;
        json.object(|json, name| match name {
            "devices" => once(&mut devices, read_devices(json)?),
            _ => json.skip(),
        })?;
        devices
    })
}

/// The description of opaque sections: each device has one field, `data`.
pub(super) fn generate(
    machine: &str,
    page_size: PageSize,
    sections: impl Iterator<Item = Described>,
) -> Vec<u8> {
    let devices: Vec<String> = sections.map(|section| section.to_json()).collect();
    format!(
        concat!(
            r#"{{"configuration":{{"fields":[{{"name":"len","size":4,"type":"uint32"}},"#,
            r#"{{"name":"name","size":{machine_len},"type":"buffer"}}],"#,
            r#""version":1,"vmsd_name":"configuration"}},"#,
            r#""devices":[{devices}],"page_size":{page_size}}}"#,
        ),
        machine_len = machine.len(),
        page_size = page_size.bytes(),
        devices = devices.join(","),
    )
    .into_bytes()
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

    fn to_json(&self) -> String {
        format!(
            concat!(
                r#"{{"fields":[{{"name":"data","size":{size},"type":"buffer"}}],"#,
                r#""instance_id":{instance},"name":{name},"version":{version},"vmsd_name":{name}}}"#,
            ),
            name = Quoted(&self.name),
            instance = self.instance,
            version = self.version,
            size = self.size,
        )
    }
}

fn read_devices(json: &mut Json<'_>) -> Option<Vec<Device>> {
    let mut devices = Vec::new();
    json.list(|json| {
        if devices.len() >= MAX_DEVICES {
            return None;
        }
        devices.push(read_device(json)?);
        Some(())
    })?;
    Some(devices)
}

fn read_device(json: &mut Json<'_>) -> Option<Device> {
    let (mut name, mut instance, mut state) = (None, None, State::default());
    json.object(|json, member| match member {
        "name" => once(&mut name, json.string()?),
        "instance_id" => once(&mut instance, json.integer()?),
        _ => state.read_member(json, member),
    })?;
    Some(Device {
        // On the wire one byte has the length of a name.
        name: name
            .filter(|name| name.len() <= usize::from(u8::MAX))?
            .into_owned(),
        instance: instance?.try_into().ok()?,
        size: state.bytes()?,
    })
}

/// What a device and a sub-section have in common: the bytes that their lists take in the stream.
#[derive(Default)]
struct State {
    fields: Option<u64>,
    subsections: Option<u64>,
}

impl State {
    fn read_member(&mut self, json: &mut Json<'_>, name: &str) -> Option<()> {
        match name {
            "fields" => once(&mut self.fields, sum(json, read_field)?),
            "subsections" => once(&mut self.subsections, sum(json, read_subsection)?),
            _ => json.skip(),
        }
    }

    fn bytes(&self) -> Option<u64> {
        self.fields
            .unwrap_or(0)
            .checked_add(self.subsections.unwrap_or(0))
    }
}

fn read_field(json: &mut Json<'_>) -> Option<u64> {
    let (mut size, mut count) = (None, None);
    json.object(|json, name| match name {
        "size" => once(&mut size, json.integer()?),
        "array_len" => once(&mut count, json.integer()?),
        _ => json.skip(),
    })?;
    u64::checked_mul(size?, count.unwrap_or(1))
}

fn read_subsection(json: &mut Json<'_>) -> Option<u64> {
    let (mut name, mut state) = (None, State::default());
    json.object(|json, member| match member {
        "vmsd_name" => once(&mut name, json.string()?.len()),
        _ => state.read_member(json, member),
    })?;
    // 1 for the type, 1 for the length of the name, 4 for the version.
    u64::try_from(name?)
        .ok()?
        .checked_add(6)?
        .checked_add(state.bytes()?)
}

/// Reads a list of what takes so many bytes each; `None` also if together that is no number of 64 bits.
fn sum(json: &mut Json<'_>, element: impl Fn(&mut Json<'_>) -> Option<u64>) -> Option<u64> {
    let mut sum = 0_u64;
    json.list(|json| {
        sum = sum.checked_add(element(json)?)?;
        Some(())
    })?;
    Some(sum)
}

/// Keeps a value, unless there is one already: then it is not clear which one is meant.
fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
            assert_eq!(parsed.is_some(), fits, "{count} devices, {name_len} bytes");
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
            assert!(parse(text.as_bytes()).is_none(), "{text}");
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
    fn what_is_written_is_json_that_says_the_same() {
        let section = Described {
            name: "pci@0000:00:02.0/\"virtio\"\\net".to_owned(),
            instance: 3,
            version: 2,
            size: u64::MAX,
        };
        let text = generate(
            "a \"machine\"",
            PageSize::X86,
            [section.clone()].into_iter(),
        );
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(value["page_size"], 4096);
        assert_eq!(value["configuration"]["fields"][1]["size"], 11);
        assert_eq!(value["devices"][0]["vmsd_name"], section.name);
        assert_eq!(value["devices"][0]["version"], section.version);
        let device = Device {
            name: section.name,
            instance: section.instance,
            size: section.size,
        };
        assert_eq!(parse(&text).unwrap(), [device]);
    }

    #[test]
    fn what_is_said_twice_is_refused() {
        for text in [
            r#"{"devices":[],"devices":[]}"#,
            r#"{"devices":[{"name":"a","instance_id":0,"name":"a"}]}"#,
            r#"{"devices":[{"name":"a","instance_id":0,"fields":[{"size":1,"size":1}]}]}"#,
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        let nested = r#"{"vmsd_name":"a","subsections":["#.repeat(100_000);
        let text = format!(r#"{{"devices":[{{"name":"a","instance_id":0,"subsections":[{nested}"#);
        assert!(parse(text.as_bytes()).is_none());
        let ignored = format!(r#"{{"other":{}"#, "[".repeat(1_000_000));
        assert!(parse(ignored.as_bytes()).is_none());
    }
}
