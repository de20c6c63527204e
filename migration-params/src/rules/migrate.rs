// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The rules that also depend on the transport, the host, or how far the migration is.

use super::verdict::{Verdict, refuse_if};
use crate::settings::Settings;
use crate::situation::{Host, Phase, Transport};
use crate::table::capabilities::{Capabilities, CapabilitiesUpdate};
use crate::values::choice::one_of;

/// No capability changes while a migration is running: both sides have already acted on them.
pub fn capabilities_stay_while_running(update: &CapabilitiesUpdate, phase: Phase) -> Verdict {
    let Some((name, value)) = update.entries().next() else {
        return Ok(());
    };
    let message = "Capabilities cannot be changed while a migration is running";
    refuse_if(phase == Phase::Running, message, name, &value, || {
        "no change".to_owned()
    })
}

/// `multifd` is not switched on once the destination listens, which has decided how many to accept.
pub fn multifd_precedes_incoming(old: bool, new: bool, phase: Phase) -> Verdict {
    let late = new && !old && phase == Phase::Listening;
    let message = "Multifd must be set before incoming starts";
    refuse_if(late, message, "multifd", "on", still_off)
}

/// `postcopy-preempt` is not switched on once the destination listens, for the same reason.
pub fn postcopy_preempt_precedes_incoming(old: bool, new: bool, phase: Phase) -> Verdict {
    let late = new && !old && phase == Phase::Listening;
    let message = "Postcopy preempt must be set before incoming starts";
    refuse_if(late, message, "postcopy-preempt", "on", still_off)
}

/// `multifd` does not go over RDMA, which moves pages by itself.
pub fn multifd_excludes_rdma(settings: &Settings, transport: Transport) -> Verdict {
    let broken = settings.capabilities.multifd && transport == Transport::Rdma;
    let message = "Multifd is not compatible with RDMA";
    refuse_if(broken, message, TRANSPORT, "rdma", || {
        "a tcp, unix or vsock socket while multifd is on".to_owned()
    })
}

/// `mapped-ram` needs a file: pages are written at their own offsets.
pub fn mapped_ram_needs_seekable_transport(settings: &Settings, transport: Transport) -> Verdict {
    let broken = settings.capabilities.mapped_ram && !transport.is_seekable();
    let message = "Migration requires seekable transport (e.g. file)";
    refuse_if(broken, message, TRANSPORT, &transport.to_string(), || {
        "file while mapped-ram is on".to_owned()
    })
}

/// `multifd` and `postcopy-preempt` need an address that can be opened more than once.
pub fn channels_need_multi_channel_transport(settings: &Settings, transport: Transport) -> Verdict {
    let on = &settings.capabilities;
    let several = on.multifd || on.postcopy_preempt;
    let broken = several && !transport.is_multi_channel(on.mapped_ram);
    let message = "Migration requires multi-channel URIs (e.g. tcp)";
    refuse_if(broken, message, TRANSPORT, &transport.to_string(), || {
        let cause = if on.multifd {
            "multifd"
        } else {
            "postcopy-preempt"
        };
        format!("a tcp, unix or vsock socket, or file with mapped-ram, while {cause} is on")
    })
}

/// `direct-io` with `multifd` needs a second descriptor: the main channel's writes are not aligned.
pub fn direct_io_needs_second_descriptor(settings: &Settings, transport: Transport) -> Verdict {
    let file = Transport::File {
        direct_descriptor: false,
    };
    let direct = settings.capabilities.multifd && settings.parameters.direct_io;
    let message = "Multifd with direct-io needs a file descriptor of its own";
    refuse_if(
        direct && transport == file,
        message,
        TRANSPORT,
        "file",
        || "a path, or an fd set with a second descriptor opened with O_DIRECT".to_owned(),
    )
}

/// `multifd-compression` is built in.
pub fn compression_is_built_in(settings: &Settings, host: &Host) -> Verdict {
    let wanted = settings.parameters.multifd_compression;
    let missing = settings.capabilities.multifd && !host.compression.contains(&wanted);
    let message = "The compression method is not built in";
    let name = "multifd-compression";
    refuse_if(missing, message, name, wanted.name(), || {
        one_of(host.compression.iter().map(|method| method.name()))
    })
}

/// `direct-io` needs a host with `O_DIRECT`.
pub fn direct_io_needs_o_direct(settings: &Settings, host: &Host) -> Verdict {
    let broken = settings.parameters.direct_io && !host.direct_io;
    let message = "No build-time support for direct-io";
    refuse_if(broken, message, "direct-io", "on", || {
        "off on a host without O_DIRECT".to_owned()
    })
}

/// `zero-copy-send` on the source needs sockets that can do it.
pub fn zero_copy_needs_socket_support(settings: &Settings, host: &Host) -> Verdict {
    let broken = settings.capabilities.zero_copy_send && !host.zero_copy;
    let message = "Zero copy send is not available";
    refuse_if(broken, message, "zero-copy-send", "on", || {
        "off where sockets cannot send with MSG_ZEROCOPY".to_owned()
    })
}

/// `dirty-limit` on the source needs a ring of dirty pages, which counts them for each vCPU.
pub fn dirty_limit_needs_dirty_ring(settings: &Settings, host: &Host) -> Verdict {
    let broken = settings.capabilities.dirty_limit && !host.dirty_ring;
    let message = "dirty-limit requires KVM with accelerator property 'dirty-ring-size' set";
    refuse_if(broken, message, "dirty-limit", "on", || {
        "off without a dirty ring".to_owned()
    })
}

/// `postcopy-ram` on the destination needs userfaultfd, which reports the pages that are missing.
pub fn postcopy_needs_userfaultfd(settings: &Settings, host: &Host) -> Verdict {
    let broken = settings.capabilities.postcopy_ram && !host.userfaultfd;
    let message = "Postcopy is not supported by this host";
    refuse_if(broken, message, "postcopy-ram", "on", || {
        "off without userfaultfd".to_owned()
    })
}

/// No snapshot is saved or loaded while `multifd` is on: a snapshot is one stream.
pub fn snapshot_excludes_multifd(on: &Capabilities) -> Verdict {
    let message = "Snapshots cannot be saved or loaded with multifd";
    refuse_if(on.multifd, message, "multifd", "on", || {
        "off for a snapshot".to_owned()
    })
}

/// Every rule about changing capabilities in a `phase`.
pub(crate) fn check_phase(
    old: &Capabilities,
    update: &CapabilitiesUpdate,
    phase: Phase,
) -> Verdict {
    let turned = |old: bool, new: Option<bool>| (old, new.unwrap_or(old));
    capabilities_stay_while_running(update, phase)?;
    let (was, is) = turned(old.multifd, update.multifd);
    multifd_precedes_incoming(was, is, phase)?;
    let (was, is) = turned(old.postcopy_preempt, update.postcopy_preempt);
    postcopy_preempt_precedes_incoming(was, is, phase)
}

/// The rules of both sides about where the migration goes and what the host has.
pub(crate) fn check_both_sides(settings: &Settings, transport: Transport, host: &Host) -> Verdict {
    multifd_excludes_rdma(settings, transport)?;
    mapped_ram_needs_seekable_transport(settings, transport)?;
    channels_need_multi_channel_transport(settings, transport)?;
    direct_io_needs_second_descriptor(settings, transport)?;
    compression_is_built_in(settings, host)?;
    direct_io_needs_o_direct(settings, host)
}

fn still_off() -> String {
    "off now that the destination listens".to_owned()
}

const TRANSPORT: &str = "transport";
