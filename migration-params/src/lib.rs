// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! QEMU's migration parameters and capabilities, for any hypervisor.
//!
//! Names, types, defaults, ranges, the rules between them and the words of their errors are QEMU's, so
//! that a command line, a management tool or an operator's habit carries over. All that takes part in
//! precopy migration of RAM is here; COLO, block bitmaps and settings of postcopy alone are not.
//!
//! A value that is out of range cannot exist: [`ZlibLevel`], [`ChannelCount`] and the others check it
//! once, when they are made. A combination is checked when it is set, on the new values, and nothing
//! changes when it is refused.
//!
//! ```
//! use migration_params::{ChannelCount, Compression, Host, ParametersUpdate, Settings, Transport};
//!
//! let mut settings = Settings::default();
//! assert_eq!(settings.parameters.multifd_channels.value(), 2);
//!
//! // As on a command line, or in QEMU's monitor: parameters and capabilities alike.
//! settings.set("multifd=on")?;
//! settings.set("multifd-compression qatzip")?;
//! settings.set_all(["max-bandwidth=1G", "downtime-limit=100"])?;
//! assert_eq!(settings.parameters.multifd_compression.name(), "qatzip");
//!
//! // In code.
//! let update = ParametersUpdate {
//!     multifd_channels: Some(ChannelCount::constant::<8>()),
//!     multifd_compression: Some(Compression::Zstd),
//!     ..Default::default()
//! };
//! settings.apply(&update.into())?;
//!
//! // A refusal names the parameter, what was given and what is allowed.
//! let error = settings.set("multifd-zstd-level=21").unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "Parameter 'multifd-zstd-level' expects a value between 0 and 20, got '21'"
//! );
//! let error = settings.set("zero-copy-send=on").unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "Zero copy only available for non-compressed non-TLS multifd migration: \
//!      'multifd-compression' is zstd, expected none while zero-copy-send is on"
//! );
//!
//! // Before the source connects.
//! settings.check_migrate(Transport::Socket, &Host::default())?;
//! assert!(settings.check_migrate(Transport::Exec, &Host::default()).is_err());
//!
//! println!("{settings}"); // "multifd-channels: 8", "multifd-compression: zstd", ...
//! # Ok::<(), migration_params::ParamError>(())
//! ```
//!
//! # Text
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
//! # JSON
//!
//! With the feature `serde`, parameters are the object that QMP's `migrate-set-parameters` takes and
//! `query-migrate-parameters` returns, and capabilities are the list
//! `[{"capability": "multifd", "state": true}]`. Unknown names are refused.
//!
//! # Help
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
