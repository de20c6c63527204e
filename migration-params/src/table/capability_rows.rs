// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The capabilities, one row each, for macros to expand.

/// Hands the table of capabilities to the macro `$then`, behind the arguments `$head`.
macro_rules! with_capabilities {
    ($then:ident! { $($head:tt)* }) => { $then! { $($head)*
        "xbzrle" xbzrle: bool = false,
            "Send differences to cached pages; source; not with multifd.";
        "auto-converge" auto_converge: bool = false,
            "Throttle the vCPUs until the migration converges; source.";
        "events" events: bool = false,
            "Send events about the migration's state and passes; both sides.";
        "postcopy-ram" postcopy_ram: bool = false,
            "Allow the switch to postcopy; both sides.";
        "release-ram" release_ram: bool = false,
            "Free pages once they are sent in postcopy; source.";
        "return-path" return_path: bool = false,
            "Open the reverse channel in precopy; source.";
        "pause-before-switchover" pause_before_switchover: bool = false,
            "Wait for migrate-continue with the guest stopped; source.";
        "multifd" multifd: bool = false,
            "Send pages over several channels; both sides.",
            "On the destination it must be on before it listens.";
        "late-block-activate" late_block_activate: bool = false,
            "Leave block devices inactive until the guest runs; destination.",
            "QEMU always does so and keeps the name.";
        "x-ignore-shared" x_ignore_shared: bool = false,
            "Leave out memory that both sides share; both sides.";
        "validate-uuid" validate_uuid: bool = false,
            "Send the guest's uuid for the destination to compare; source.";
        "background-snapshot" background_snapshot: bool = false,
            "Save the state as it was at the start while the guest runs on; source; not with multifd.";
        "zero-copy-send" zero_copy_send: bool = false,
            "Send pages without a copy in the kernel; source; needs multifd, Linux.";
        "postcopy-preempt" postcopy_preempt: bool = false,
            "Send requested pages on a channel of their own; both sides; needs postcopy-ram.",
            "On the destination it must be on before it listens.";
        "switchover-ack" switchover_ack: bool = false,
            "Switch over only after the destination agreed; both sides; needs return-path.";
        "dirty-limit" dirty_limit: bool = false,
            "Throttle each vCPU by its dirty rate; source; not with auto-converge.",
            "QEMU needs KVM's dirty ring for it.";
        "mapped-ram" mapped_ram: bool = false,
            "Give every page a fixed place in a file; both sides; needs a file.";
    } };
}
pub(crate) use with_capabilities;
