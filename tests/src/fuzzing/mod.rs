// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the fuzz targets do with arbitrary bytes.
//!
//! The targets themselves are in the repository's `fuzz` folder and need a nightly compiler; each of
//! them is one call of [`Target::run`]. A body panics on a finding and else answers whether it took
//! its input, so that a test on a stable compiler can replay the seeds and knows that they are good.

mod channel;
mod channels;
#[cfg(feature = "command")]
mod command;
mod deflate;
mod destination;
mod early;
mod guest;
mod headers;
mod limits;
mod machine;
mod main_stream;
mod messages;
mod packets;
mod parts;
mod payload;
mod rearrange;
mod relay;
mod script;
mod settings;
mod source;
mod target;
mod text;

pub use rearrange::{mutate, rearrange};
pub use target::Target;

impl Target {
    /// Every target that is here whatever the features.
    const ALWAYS: [Self; 18] = [
        headers::INIT_PACKET,
        headers::RAM_HEADER,
        headers::DEVICE_STATE_HEADER,
        channel::CHANNEL,
        channels::CHANNELS,
        destination::DESTINATION,
        source::SOURCE,
        main_stream::MAIN_STREAM,
        main_stream::RETURN_PATH,
        relay::RELAY,
        settings::SETTINGS,
        payload::NONE,
        payload::ZLIB,
        payload::ZSTD,
        payload::QATZIP,
        payload::QPL,
        payload::UADK,
        deflate::DEFLATE,
    ];

    /// What the command reads.
    #[cfg(feature = "command")]
    const OF_COMMAND: &[Self] = &[
        command::ADDRESS,
        command::KEPT,
        command::RECORDING,
        command::SAVED,
    ];
    #[cfg(not(feature = "command"))]
    const OF_COMMAND: &[Self] = &[];

    /// Every target.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::ALWAYS.iter().chain(Self::OF_COMMAND).copied()
    }

    /// Runs the target of this name.
    ///
    /// # Panics
    /// There is none of this name, or the target found something.
    pub fn run_named(name: &str, bytes: &[u8]) {
        let target = Self::all().find(|target| target.name == name);
        assert!(target.is_some(), "no target {name}");
        if let Some(target) = target {
            (target.run)(bytes);
        }
    }
}
