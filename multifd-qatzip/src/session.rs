//! The library's sessions of one channel, and what became of each packet.

use multifd_core::ChannelId;
use multifd_core::method::{CodecPath, Fallback, PathCounts};
use qatzip_sys::{Direction, Error, Session};

use crate::attempt::{A_PAGE, PAGE, Trouble, compress, decompress, decompress_checked};
use crate::member::NAME;
use crate::shape::Shape;

/// A device's session and one with the library's own software, as far as they are to be used. Both stay
/// on the channel's thread.
///
/// The device's session has no software to fall back to: what it does, the device did. Where the
/// device fails, the library's software takes the packet if it may, and else the caller.
#[derive(Debug)]
pub(crate) struct Sessions {
    channel: ChannelId,
    device: Device,
    software: Option<Session>,
    counts: PathCounts,
    /// Whether the first packet that fell back was told.
    told: bool,
}

#[derive(Debug)]
enum Device {
    /// None is to be used.
    Unwanted,
    Usable(Session),
    /// It failed, and is not used any more.
    Lost,
}

impl Sessions {
    /// Without any session.
    pub(crate) fn new(channel: ChannelId) -> Self {
        Self {
            channel,
            device: Device::Unwanted,
            software: None,
            counts: PathCounts::default(),
            told: false,
        }
    }

    /// The device is to be used. It gets a page to work on here, so that the library sets up what it
    /// sets up with the first one.
    pub(crate) fn set_device(&mut self, session: Result<Session, Error>, direction: Direction) {
        let tried = session.map_err(Trouble::from).and_then(|mut session| {
            let (page, mut room) = ([0; PAGE], [0; 2 * PAGE]);
            let worked = match direction {
                Direction::Compress => session.compress(&page, &mut room).map(drop),
                Direction::Decompress => session.decompress(&A_PAGE, &mut room[..PAGE]),
            };
            match worked.map_err(Trouble::from) {
                Err(trouble) if trouble.lost => Err(trouble),
                _ => Ok(session),
            }
        });
        self.device = match tried {
            Ok(session) => Device::Usable(session),
            Err(trouble) => {
                self.tell(&trouble.what);
                Device::Lost
            }
        };
    }

    /// The library's software is to be used for what the device does not.
    pub(crate) fn set_software(&mut self, session: Result<Session, Error>) {
        match session {
            Ok(session) => self.software = Some(session),
            Err(error) => self.tell(&error.to_string()),
        }
    }

    /// Compresses a packet's content to the front of `out`, and answers how many bytes it became;
    /// `None` if this crate's software has to do it.
    pub(crate) fn compress(&mut self, content: &[u8], out: &mut [u8]) -> Option<usize> {
        let (done, reason) = match self.by_device(|session| compress(session, content, out)) {
            Ok((len, shape)) if shape.is_of_device() => (Some((len, CodecPath::Hardware)), None),
            // A driver that does not know the level.
            Ok((len, _)) => (Some((len, CodecPath::VendorSoftware)), None),
            Err(reason) => {
                let done = self.by_software(|session| compress(session, content, out));
                (
                    done.map(|(len, _)| (len, CodecPath::VendorSoftware)),
                    reason,
                )
            }
        };
        self.count(done.map(|(_, path)| path), reason);
        done.map(|(len, _)| len)
    }

    /// Decompresses a packet's payload to exactly `out`; `false` if this crate's software has to do it,
    /// which then also says what is wrong with a payload that is wrong.
    pub(crate) fn decompress(&mut self, payload: &[u8], out: &mut [u8]) -> bool {
        // The library sees only what it cannot misread.
        let shape = Shape::of(payload).map_err(|(at, what)| format!("{what} (payload byte {at})"));
        let fitting = shape.and_then(|shape| match shape.content == out.len() {
            true => Ok(shape),
            false => Err(format!(
                "{} bytes of content, wanted {}",
                shape.content,
                out.len()
            )),
        });
        let (done, reason) = match fitting {
            Err(what) => {
                self.tell(&what);
                (None, Some(Fallback::Unsupported))
            }
            Ok(shape) => {
                match self.by_device(|session| decompress(session, &shape, payload, out)) {
                    Ok(()) => (Some(CodecPath::Hardware), None),
                    Err(reason) => {
                        let done =
                            self.by_software(|session| decompress_checked(session, payload, out));
                        (done.map(|()| CodecPath::VendorSoftware), reason)
                    }
                }
            }
        };
        self.count(done, reason);
        done.is_some()
    }

    /// Which implementation did the packets so far.
    pub(crate) fn counts(&self) -> PathCounts {
        self.counts
    }

    /// Answers what the device did, or why it did not; `None` if it is not to be used.
    fn by_device<T>(
        &mut self,
        work: impl FnOnce(&mut Session) -> Result<T, Trouble>,
    ) -> Result<T, Option<Fallback>> {
        let trouble = match &mut self.device {
            Device::Unwanted => return Err(None),
            Device::Lost => return Err(Some(Fallback::NoDevice)),
            Device::Usable(session) => match work(session) {
                Ok(done) => return Ok(done),
                Err(trouble) => trouble,
            },
        };
        if trouble.lost {
            self.device = Device::Lost;
        }
        self.tell(&trouble.what);
        Err(Some(trouble.reason))
    }

    /// Answers what the library's software did.
    fn by_software<T>(
        &mut self,
        work: impl FnOnce(&mut Session) -> Result<T, Trouble>,
    ) -> Option<T> {
        match work(self.software.as_mut()?) {
            Ok(done) => Some(done),
            Err(trouble) => {
                self.tell(&trouble.what);
                None
            }
        }
    }

    /// Counts a packet that `path` did; `None` is this crate's software, which does nothing unless it
    /// has to.
    fn count(&mut self, path: Option<CodecPath>, reason: Option<Fallback>) {
        self.counts.count(path.unwrap_or(CodecPath::Software));
        match (path, reason) {
            (_, Some(reason)) => self.counts.fell_back(reason),
            (None, None) => self.counts.fell_back(Fallback::Failed),
            (Some(_), None) => {}
        }
    }

    /// Says why the first packet of the channel fell back. The others are only counted.
    fn tell(&mut self, what: &str) {
        if !self.told {
            self.told = true;
            let channel = self.channel;
            log::warn!("{NAME}: channel {channel} falls back: {what}; more is counted, not told");
        }
    }
}
