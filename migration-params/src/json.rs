// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! JSON as QMP has it: parameters are one object, capabilities a list of names with a state.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::table::assignment::{Assignment, Given};
use crate::table::capabilities::{Capabilities, CapabilitiesUpdate};
use crate::table::catalog;
use crate::table::group::Group;
use crate::table::parameter_rows::with_parameters;
use crate::table::parameters::{Parameters, ParametersUpdate};
use crate::values::bounded::{
    AnnounceDelay, AnnounceRounds, AnnounceStep, Bandwidth, ChannelCount, CpuThrottle,
    DirtyLimitPeriod, DowntimeLimit, Percent, QatzipLevel, VcpuDirtyLimit, ZlibLevel, ZstdLevel,
};
use crate::values::cache_size::XbzrleCacheSize;
use crate::values::choice::{Compression, Mode, ZeroPageDetection};
use crate::values::tls_name::TlsName;
use crate::values::value::{Form, Value as _};

/// Expands the table of parameters into what reads and writes each member of the object.
macro_rules! members {
    ($( $name:literal $field:ident: $type:ty = $default:expr, $about:literal $(, $more:literal)*; )*) => {
        /// Reads the value of the member `name`.
        fn read_member<'de, A: MapAccess<'de>>(
            update: &mut ParametersUpdate,
            name: &str,
            members: &mut A,
        ) -> Result<(), A::Error> {
            match name {
                $( $name => {
                    if update.$field.is_some() {
                        return Err(A::Error::duplicate_field($name));
                    }
                    let value = members.next_value::<$type>().map_err(|error| {
                        A::Error::custom(format_args!("Parameter '{}': {error}", $name))
                    })?;
                    update.$field = Some(value);
                } )*
                other => {
                    return Err(A::Error::custom(catalog::unknown(other, Group::Parameter)));
                }
            }
            Ok(())
        }

        impl Serialize for Parameters {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut members = serializer.serialize_map(Some(ParametersUpdate::NAMES.len()))?;
                $( members.serialize_entry($name, &self.$field)?; )*
                members.end()
            }
        }

        impl Serialize for ParametersUpdate {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut members = serializer.serialize_map(Some(self.entries().count()))?;
                $( if let Some(value) = &self.$field { members.serialize_entry($name, value)?; } )*
                members.end()
            }
        }
    };
}

with_parameters! { members! {} }

impl<'de> Deserialize<'de> for ParametersUpdate {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(ObjectVisitor)
    }
}

/// Absent members have QEMU's default; rules between parameters are checked.
impl<'de> Deserialize<'de> for Parameters {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut parameters = Self::default();
        let update = ParametersUpdate::deserialize(from)?;
        parameters.apply(&update).map_err(D::Error::custom)?;
        Ok(parameters)
    }
}

impl<'de> Deserialize<'de> for CapabilitiesUpdate {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(ListVisitor)
    }
}

/// Absent capabilities are off; rules between capabilities are checked.
impl<'de> Deserialize<'de> for Capabilities {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut capabilities = Self::default();
        let update = CapabilitiesUpdate::deserialize(from)?;
        capabilities.apply(&update).map_err(D::Error::custom)?;
        Ok(capabilities)
    }
}

impl Serialize for Capabilities {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.entries().map(State::from))
    }
}

impl Serialize for CapabilitiesUpdate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.entries().map(State::from))
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = ParametersUpdate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of migration parameters")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut update = ParametersUpdate::default();
        while let Some(name) = members.next_key::<String>()? {
            read_member(&mut update, &name, &mut members)?;
        }
        Ok(update)
    }
}

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = CapabilitiesUpdate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of migration capabilities, each with its state")
    }

    /// As in QEMU, the last of several states of one capability counts.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut update = CapabilitiesUpdate::default();
        while let Some(state) = list.next_element::<State>()? {
            let text = state.state.text();
            let given = Given {
                text: &text,
                form: Form::Plain,
            };
            let assignment = Assignment {
                name: &state.capability,
                given,
            };
            update.assign(assignment).map_err(A::Error::custom)?;
        }
        Ok(update)
    }
}

/// One element of QMP's list of capabilities.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    capability: String,
    state: bool,
}

impl From<(&'static str, String)> for State {
    fn from((capability, value): (&'static str, String)) -> Self {
        Self {
            capability: capability.to_owned(),
            state: value == "on",
        }
    }
}
