// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

#![doc = include_str!("../README.md")]
//!
//! ## Text
//!
//! One assignment is `name=value`, `name: value` or, as in QEMU's monitor, `name value`.
//!
//! - Numbers are decimal, or hexadecimal after `0x`.
//! - Sizes take a suffix B, K, M, G, T, P or E, in powers of 1024, and a fraction before it: `1.5G`.
//! - A bandwidth without suffix counts bytes per second; in the form `name value` it counts MiB per
//!   second, as in QEMU's monitor.
//! - Switches are `on`, `true`, `yes`, `y` or `off`, `false`, `no`, `n`.
//! - Text may stand in single or double quotes.
//! - The unit that [`Parameters`] prints (`ms`, `bytes/second`) may follow the value.
//!
//! ## JSON
//!
//! With the feature `serde`, parameters are the object that QMP's `migrate-set-parameters` takes and
//! `query-migrate-parameters` returns, and capabilities are the list
//! `[{"capability": "multifd", "state": true}]`. Unknown names are refused.
//!
//! ## Help
//!
//! [`known`] lists every name with type, default, range and a line of description.

mod apply;
#[cfg(feature = "serde")]
mod json;
pub mod rules;
mod settings;
mod situation;
mod table;
mod values;

pub use settings::{Settings, SettingsUpdate};
pub use situation::{Host, Phase, Transport};
pub use table::capabilities::{Capabilities, CapabilitiesUpdate};
pub use table::catalog::{Known, known};
pub use table::error::ParamError;
pub use table::group::Group;
pub use table::parameters::{Parameters, ParametersUpdate};
pub use values::bounded::{
    AnnounceDelay, AnnounceRounds, AnnounceStep, Bandwidth, ChannelCount, CpuThrottle,
    DirtyLimitPeriod, DowntimeLimit, Percent, QatzipLevel, VcpuDirtyLimit, ZlibLevel, ZstdLevel,
};
pub use values::cache_size::XbzrleCacheSize;
pub use values::choice::{Compression, Mode, ZeroPageDetection};
pub use values::error::ValueError;
pub use values::tls_name::TlsName;
