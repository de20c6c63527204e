// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What went wrong, where, and whose fault it is.

use std::fmt;
use std::sync::Arc;

use crate::geometry::ChannelId;

/// An error of the engine. Cheap to clone: the first one of a migration is given to every caller
/// that the failure stops.
///
/// It prints as `destination, channel 1, packet 17, block "pc.ram", offset 0x1000: <what>`.
#[derive(Clone, Debug)]
pub struct Error {
    fault: Fault,
    place: Place,
    cause: Arc<dyn std::error::Error + Send + Sync>,
}

/// Who has to act on an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The peer sent what it must not send: it is damaged, hostile, or set up differently.
    Peer,
    /// The connection to the peer failed, ended early, or was silent for too long.
    Connection,
    /// An accelerator, its driver or its library failed.
    Device,
    /// This side was called or configured wrongly, or has a bug.
    Caller,
    /// Somebody aborted the migration; nothing failed.
    Aborted,
}

/// Which end of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Side {
    /// The end that sends.
    Source,
    /// The end that receives.
    Destination,
    /// The end of a relay that receives, from a source.
    RelayIn,
    /// The end of a relay that sends, to a destination.
    RelayOut,
}

/// Where an error happened, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// Which end.
    pub side: Option<Side>,
    /// Which channel.
    pub channel: Option<ChannelId>,
    /// How many packets of that channel came before, so: the index of the packet in the channel.
    pub packet: Option<u64>,
    /// Which RAM block.
    pub block: Option<Arc<str>>,
    /// Byte offset in the block.
    pub offset: Option<u64>,
}

impl Error {
    /// An error with a cause; its [`Place`] is still unknown.
    pub fn new(fault: Fault, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self {
            fault,
            place: Place::default(),
            cause: Arc::from(cause.into()),
        }
    }

    /// The migration was aborted.
    pub fn aborted() -> Self {
        Self::new(Fault::Aborted, "migration aborted")
    }

    /// Who has to act.
    pub fn fault(&self) -> Fault {
        self.fault
    }

    /// Where it happened.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What happened: for instance a `WireError`, a `MethodError` or an `io::Error`.
    pub fn cause(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        &*self.cause
    }

    /// The same error with more said about its place. What is known already stays.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        let known = self.place;
        self.place = Place {
            side: known.side.or(place.side),
            channel: known.channel.or(place.channel),
            packet: known.packet.or(place.packet),
            block: known.block.or(place.block),
            offset: known.offset.or(place.offset),
        };
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place.to_string();
        if !place.is_empty() {
            write!(f, "{place}: ")?;
        }
        self.cause.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The cause itself is part of Display.
        self.cause.source()
    }
}

impl Place {
    /// A place on one side of the migration.
    pub fn on(side: Side) -> Self {
        Self {
            side: Some(side),
            ..Self::default()
        }
    }

    /// The same place, in a channel.
    #[must_use]
    pub fn channel(self, channel: ChannelId) -> Self {
        Self {
            channel: Some(channel),
            ..self
        }
    }

    /// The same place, in a packet.
    #[must_use]
    pub fn packet(self, packet: u64) -> Self {
        Self {
            packet: Some(packet),
            ..self
        }
    }

    /// The same place, in a RAM block.
    #[must_use]
    pub fn block(self, block: &str) -> Self {
        Self {
            block: Some(block.into()),
            ..self
        }
    }

    /// The same place, at an offset.
    #[must_use]
    pub fn offset(self, offset: u64) -> Self {
        Self {
            offset: Some(offset),
            ..self
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut part = |f: &mut fmt::Formatter<'_>, text: fmt::Arguments<'_>| {
            write!(f, "{separator}{text}")?;
            separator = ", ";
            Ok(())
        };
        if let Some(side) = self.side {
            part(f, format_args!("{side}"))?;
        }
        if let Some(channel) = self.channel {
            part(f, format_args!("channel {channel}"))?;
        }
        if let Some(packet) = self.packet {
            part(f, format_args!("packet {packet}"))?;
        }
        if let Some(block) = &self.block {
            part(f, format_args!("block {block:?}"))?;
        }
        if let Some(offset) = self.offset {
            part(f, format_args!("offset {offset:#x}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::RelayIn => "relay, source side",
            Self::RelayOut => "relay, destination side",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::ChannelCount;

    #[test]
    fn an_error_says_where() {
        let channel = ChannelCount::default().channel(1).unwrap();
        let error = Error::new(Fault::Peer, "bad page")
            .at(Place::default().block("pc.ram").offset(0x1000))
            .at(Place::on(Side::Destination)
                .channel(channel)
                .packet(17)
                .offset(0));
        assert_eq!(
            error.to_string(),
            "destination, channel 1, packet 17, block \"pc.ram\", offset 0x1000: bad page"
        );
        assert_eq!(Error::aborted().to_string(), "migration aborted");
    }
}
