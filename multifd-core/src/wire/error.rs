// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What may be wrong with a packet.

use super::flags::{MULTIFD_MAGIC, MULTIFD_VERSION, MethodId, PacketFlags};
use super::uuid::Uuid;
use crate::geometry::PageSize;

/// What is wrong with bytes that a peer sent, before any guest memory was touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The first four bytes are not [`MULTIFD_MAGIC`].
    #[error(
        "not a multifd packet: magic {got:#010x}, wanted {MULTIFD_MAGIC:#010x} \
         (the stream is damaged, or the peer is not a multifd source)"
    )]
    Magic {
        /// The four bytes.
        got: u32,
    },
    /// A version other than [`MULTIFD_VERSION`].
    #[error("multifd version {got}, wanted {MULTIFD_VERSION}")]
    Version {
        /// The version that was sent.
        got: u32,
    },
    /// The initial packet carries another VM's UUID.
    #[error("the peer migrates VM {got}, this side expects {want}: give both the same UUID")]
    Uuid {
        /// The UUID that was sent.
        got: Uuid,
        /// This side's UUID.
        want: Uuid,
    },
    /// The initial packet names a channel that this migration does not have.
    #[error(
        "channel number {got} in a migration of {channels} channels: \
         set multifd-channels to the same number on both sides"
    )]
    ChannelId {
        /// The channel number that was sent.
        got: u8,
        /// How many channels this side is set to.
        channels: usize,
    },
    /// A second connection calls itself by the number of one that is already there.
    #[error("channel number {got} is used twice")]
    DuplicateChannel {
        /// The channel number that was sent.
        got: u8,
    },
    /// The packet claims more pages than a packet can list.
    #[error("{what} is {got}, wanted at most {limit}")]
    Count {
        /// The header's field.
        what: &'static str,
        /// Its value.
        got: u32,
        /// The most it may be.
        limit: u32,
    },
    /// The packets are those of a guest with pages of another size.
    #[error(
        "a guest with {}, this side is set to pages of {want} bytes: set both sides to the size that the guest has",
        other_pages(.got, .want)
    )]
    PageSize {
        /// Their size, where that can be told: otherwise they are smaller.
        got: Option<PageSize>,
        /// This side's.
        want: PageSize,
    },
    /// Pages were compressed with another method than this side is set to.
    #[error(
        "packet compressed with {got}, wanted {want}: \
         set multifd-compression to the same method on both sides"
    )]
    Method {
        /// The method of the packet.
        got: MethodId,
        /// The method of this side.
        want: MethodId,
    },
    /// A payload of a size that the method cannot have made.
    #[error("payload of {got} bytes for {pages} pages, wanted {min} to {max}")]
    PayloadSize {
        /// The size that the header announces, in bytes.
        got: usize,
        /// How many pages it should hold.
        pages: usize,
        /// The least that the method makes of so many pages.
        min: usize,
        /// The most that the method makes of so many pages.
        max: usize,
    },
    /// A name of a RAM block that this migration does not have.
    #[error("unknown RAM block {got:?}")]
    UnknownBlock {
        /// The name, with what is not UTF-8 replaced.
        got: String,
    },
    /// A page offset that is not a multiple of the page size.
    #[error("page offset {got:#x} is not a multiple of the page size {page_size}")]
    Unaligned {
        /// The offset in bytes.
        got: u64,
        /// The page size in bytes.
        page_size: PageSize,
    },
    /// A page that is not wholly inside its block.
    #[error("page offset {got:#x} is outside the block of {block_len:#x} bytes")]
    OutOfBlock {
        /// The offset in bytes.
        got: u64,
        /// The block's length in bytes.
        block_len: u64,
    },
    /// A page that one packet lists twice.
    #[error("page offset {got:#x} is listed twice in one packet")]
    DuplicatePage {
        /// The offset in bytes.
        got: u64,
    },
    /// A packet that is both a barrier and device state.
    #[error("SYNC and DEVICE_STATE in one packet (flags {got})")]
    SyncDeviceState {
        /// The packet's flags.
        got: PacketFlags,
    },
    /// A device state packet with a size that it may not have.
    #[error("device state of {got} bytes, wanted 1 to {limit}")]
    DeviceStateSize {
        /// The announced size in bytes.
        got: u32,
        /// The most that this side takes.
        limit: u32,
    },
    /// Fewer bytes than a header has.
    #[error("a header of {got} bytes, wanted {want}")]
    HeaderLength {
        /// How many bytes there are.
        got: usize,
        /// How many the header has.
        want: usize,
    },
    /// A name field without its terminating NUL.
    #[error("name field without a terminating NUL")]
    NameNotTerminated,
    /// A device's name that is not UTF-8, as no QEMU has one: it could not be passed on as it came.
    #[error("device state for \"{got}\", whose name is not UTF-8")]
    DeviceName {
        /// The name, with what is not ASCII escaped.
        got: String,
    },
    /// A device state packet where the receiver was not told what to do with one.
    #[error("device state for {idstr:?}, but this side takes none")]
    UnexpectedDeviceState {
        /// The device's id string.
        idstr: String,
    },
}

fn other_pages(got: &Option<PageSize>, want: &PageSize) -> String {
    match got {
        Some(got) => format!("pages of {got} bytes"),
        None => format!("pages of less than {want} bytes"),
    }
}
