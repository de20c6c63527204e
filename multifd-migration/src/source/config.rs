// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a source is told.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use migration_params::{Parameters, Settings, ZeroPageDetection};
use multifd_core::transport::Transport;
use multifd_core::wire::Uuid;
use multifd_core::{AdaptConfig, DeviceState, Limits, Spawn, StdThreads};

use super::{AutoConverge, EarlySections, Tuning};
use crate::stream::{DeviceSection, RAM_SECTION_ID, SyncMode};
use crate::unsupported::{self, Unsupported};

/// How a [`Source`](super::Source) works.
#[derive(Clone)]
#[non_exhaustive]
pub struct SourceConfig {
    /// The machine type that the destination must have, as QEMU names it: `pc-i440fx-10.0`, or
    /// `none`, the default, for a hypervisor that is not QEMU.
    pub machine: String,
    /// The VM's UUID, all zero if it has none. The destination refuses another one than its own.
    pub uuid: Uuid,
    /// Name the UUID in the configuration, too: QEMU's capability `validate-uuid`.
    pub validate_uuid: bool,
    /// Name the size of the guest's pages in the configuration: its binary logarithm, as a QEMU does whose
    /// processor can have pages of several sizes, and then wants to hear. Those of Arm do, x86 does not.
    pub page_bits: Option<u32>,
    /// The id of RAM's sections, which no section of the [tail](Self::tail) may have:
    /// [`RAM_SECTION_ID`] unless a guest is sent again that came with another one.
    pub ram_section_id: u32,
    /// What devices have sent before the end of RAM, of a guest that is sent again: sections of virtio-mem, of dirty
    /// bitmaps, of VFIO devices. None of them may have [RAM's id](Self::ram_section_id).
    pub early_sections: Option<Arc<dyn EarlySections>>,
    /// How barriers stand on the main channel: what the destination is set to. Per round, unless it
    /// is QEMU's machine type 8.0 or older.
    pub sync_mode: SyncMode,
    /// `zero-page-detection`. `multifd` wants a destination of QEMU 9.0 or later.
    pub zero_pages: ZeroPageDetection,
    /// Choose for each packet how much to compress it, by what the link and the processors give; `None`, the default,
    /// keeps to the method's level. The destination need not know.
    pub adapt: Option<AdaptConfig>,
    /// Bandwidth and downtime; may be changed while the migration runs.
    pub tuning: Tuning,
    /// `pause-before-switchover`: with the guest paused, wait for
    /// [`SourceHandle::proceed`](super::SourceHandle::proceed) before the last memory and the
    /// devices are sent. Off by default.
    pub pause_before_switchover: bool,
    /// Fetch the dirty log once more when the last memory has been sent, and fail if the paused guest's memory was written to: by a
    /// device that [`SourceHost::pause`](super::SourceHost::pause) has not stopped, whose writes would be lost. The
    /// guest runs on. Pages of the last fetch are left out: a log that protects late reports them once more. Off by
    /// default, for a fetch is downtime; on, it is for whoever teaches a hypervisor to migrate.
    pub check_pause: bool,
    /// Slow the guest's vCPUs down if it writes faster than the channels carry; `None`, the default,
    /// does not.
    pub auto_converge: Option<AutoConverge>,
    /// How long memory may be sent while the guest runs; `None`, the default, has no limit: a guest
    /// that writes faster than the channels carry is then never paused.
    pub time_limit: Option<Duration>,
    /// What to do then.
    pub over_time: OverTime,
    /// Use the handover that keeps the guest from running on both sides, if the destination is of
    /// this crate, too. On by default; it costs one round trip of downtime.
    pub hand_over: bool,
    /// The state of each device of a guest that is stopped, in the order in which the destination
    /// loads it: what [`Source::run_stopped`](super::Source::run_stopped) sends.
    pub devices: Vec<DeviceSection>,
    /// All that comes behind the memory, byte for byte: the [tail](crate::stream::Tail::bytes) of a
    /// migration that was received. It is sent instead of the devices.
    pub tail: Option<Vec<u8>>,
    /// Device state that goes over the channels, each piece on whichever is free: what QEMU's devices
    /// that are passed through send since 10.0, with the method `none`.
    pub device_packets: Vec<DeviceState>,
    /// How long things are waited for.
    pub limits: Limits,
    /// Starts the threads.
    pub threads: Arc<dyn Spawn>,
}

impl Default for SourceConfig {
    fn default() -> Self {
        Self {
            machine: "none".into(),
            uuid: Uuid::default(),
            validate_uuid: false,
            page_bits: None,
            ram_section_id: RAM_SECTION_ID,
            early_sections: None,
            sync_mode: SyncMode::PerRound,
            zero_pages: ZeroPageDetection::Multifd,
            adapt: None,
            tuning: Tuning::default(),
            pause_before_switchover: false,
            check_pause: false,
            auto_converge: None,
            time_limit: None,
            over_time: OverTime::default(),
            hand_over: true,
            devices: Vec::new(),
            tail: None,
            device_packets: Vec::new(),
            limits: Limits::default(),
            threads: Arc::new(StdThreads),
        }
    }
}

/// What to do with a migration that takes longer than its time limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OverTime {
    /// It fails, and the guest runs on.
    #[default]
    Cancel,
    /// Pause the guest and send what is left, however long its downtime is then.
    SwitchOver,
}

impl SourceConfig {
    /// The defaults, with what the parameters say. For a host that offers capabilities, too, there is
    /// [`TryFrom<&Settings>`](#impl-TryFrom%3C%26Settings%3E-for-SourceConfig).
    pub fn with_parameters(parameters: &Parameters) -> Self {
        let tuning = Tuning {
            downtime_limit: Duration::from_millis(parameters.downtime_limit.value()),
            max_bandwidth: parameters.max_bandwidth.non_zero(),
            avail_switchover_bandwidth: parameters.avail_switchover_bandwidth.non_zero(),
        };
        Self {
            zero_pages: parameters.zero_page_detection,
            tuning,
            ..Self::default()
        }
    }

    /// The time limit, if a migration that began at `start` has passed it.
    pub(super) fn passed_limit(&self, start: Instant) -> Option<Duration> {
        self.time_limit.filter(|limit| start.elapsed() > *limit)
    }
}

/// The defaults, with what parameters and capabilities say. `auto-converge`, `pause-before-switchover` and
/// `validate-uuid` are capabilities; the return path is a matter of the [connections](Connections::new), the method of
/// the registry, TLS of the transports.
impl TryFrom<&Settings> for SourceConfig {
    type Error = Unsupported;

    fn try_from(settings: &Settings) -> Result<Self, Unsupported> {
        unsupported::at_source(settings)?;
        let Settings {
            parameters,
            capabilities,
        } = settings;
        let auto_converge = AutoConverge {
            trigger_threshold: parameters.throttle_trigger_threshold.value(),
            initial: parameters.cpu_throttle_initial.value(),
            increment: parameters.cpu_throttle_increment.value(),
            tail_slow: parameters.cpu_throttle_tailslow,
            max: parameters.max_cpu_throttle.value(),
        };
        Ok(Self {
            auto_converge: capabilities.auto_converge.then_some(auto_converge),
            pause_before_switchover: capabilities.pause_before_switchover,
            validate_uuid: capabilities.validate_uuid,
            ..Self::with_parameters(parameters)
        })
    }
}

/// The connections of a source, all to the same destination.
#[non_exhaustive]
pub struct Connections {
    /// The main connection, to send.
    pub main: Box<dyn Transport>,
    /// A second handle of the main connection, to receive: with it the destination confirms, and
    /// the guest never runs on both sides. Without it the end of sending is the end.
    pub return_path: Option<Box<dyn Transport>>,
    /// The multifd connections, `multifd-channels` of them.
    pub channels: Vec<Box<dyn Transport>>,
}

impl Connections {
    /// A main connection and those of the channels, with a return path: what a migration of a guest that runs wants.
    ///
    /// # Errors
    /// The main connection cannot be [duplicated](Transport::duplicate).
    pub fn new(main: Box<dyn Transport>, channels: Vec<Box<dyn Transport>>) -> io::Result<Self> {
        Ok(Self {
            return_path: Some(main.duplicate()?),
            main,
            channels,
        })
    }

    /// The same, but that the destination says nothing: where it has no return path.
    pub fn one_way(main: Box<dyn Transport>, channels: Vec<Box<dyn Transport>>) -> Self {
        Self {
            main,
            return_path: None,
            channels,
        }
    }
}

impl fmt::Debug for SourceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceConfig")
            .field("machine", &self.machine)
            .field("uuid", &self.uuid)
            .field("sync_mode", &self.sync_mode)
            .field("zero_pages", &self.zero_pages)
            .field("tuning", &self.tuning)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connections(main and {} channels)", self.channels.len())
    }
}
