// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One channel's ways to the library, and what became of each packet.

use multifd_core::method::{Accelerator, CodecPath, Fallback, PathCounts};
use multifd_core::{ChannelId, ChannelSetup, MethodError};

use crate::attempt::{Trouble, Work};
use crate::member::NAME;
use crate::shape::Shape;
use crate::worker::{Plan, Worker};

/// A device's session and one with the library's own software, as far as they are to be used, each on a thread
/// of its own.
///
/// The device's session has no software to fall back to: what it does, the device did. Where the
/// device fails, the library's software takes the packet if it may, and else the caller, unless every packet has
/// to be done by the device.
#[derive(Debug)]
pub(crate) struct Sessions {
    channel: ChannelId,
    device: Device,
    software: Option<Worker>,
    /// Whether the device has to do every packet.
    must: bool,
    counts: PathCounts,
    /// Packets in a row for which the device was busy.
    busy: u32,
    /// What became of the last packet.
    last: Option<Outcome>,
    /// Why the device did not do the last packet.
    trouble: String,
    /// Whether the first packet that fell back was told.
    told: bool,
}

/// Who does a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The device's session: the device, unless its driver left the packet to software.
    Device(CodecPath),
    /// The library's software, which was chosen, or else why the device did not.
    Library(Option<Fallback>),
    /// This crate, and why the library did not.
    Own(Fallback),
}

#[derive(Debug)]
enum Device {
    /// None is to be used.
    Unwanted,
    Usable(Worker),
    /// It failed, and is not used any more. What it was given last can still be read.
    Lost(Option<Worker>),
}

impl Sessions {
    /// Starts what is wanted. With `must`, there has to be a device.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn start(
        setup: &ChannelSetup,
        device: Option<Plan>,
        software: Option<Plan>,
        must: bool,
    ) -> Result<Self, MethodError> {
        let mut sessions = Self {
            channel: setup.channel,
            device: Device::Unwanted,
            software: None,
            must,
            counts: PathCounts::default(),
            busy: 0,
            last: None,
            trouble: String::new(),
            told: false,
        };
        match device.map(|plan| Worker::start(setup, DEVICE_THREAD, plan)) {
            None => {}
            Some(Ok(worker)) => sessions.device = Device::Usable(worker),
            Some(Err(trouble)) => {
                sessions.device = Device::Lost(None);
                if must {
                    return Err(refusal("this channel has no device", &trouble.what));
                }
                sessions.tell(trouble.what);
            }
        }
        match software.map(|plan| Worker::start(setup, SOFTWARE_THREAD, plan)) {
            None => {}
            Some(Ok(worker)) => sessions.software = Some(worker),
            Some(Err(trouble)) => sessions.tell(trouble.what),
        }
        Ok(sessions)
    }

    /// Where a packet's input goes; `None` if nothing of the library is to be used any more.
    pub(crate) fn input_mut(&mut self) -> Option<&mut [u8]> {
        if let Device::Lost(worker) = &mut self.device {
            *worker = None;
        }
        let worker = match &mut self.device {
            Device::Usable(worker) => worker,
            _ => self.software.as_mut()?,
        };
        worker.input_mut()
    }

    /// What a packet's input was, for those who do it instead.
    pub(crate) fn input(&self) -> &[u8] {
        match (&self.device, &self.software) {
            (Device::Usable(worker) | Device::Lost(Some(worker)), _) | (_, Some(worker)) => {
                worker.input()
            }
            _ => &[],
        }
    }

    /// What was made of it.
    pub(crate) fn output(&self) -> &[u8] {
        match (self.last, &self.device, &self.software) {
            (Some(Outcome::Device(_)), Device::Usable(worker), _)
            | (Some(Outcome::Library(_)), _, Some(worker)) => worker.output(),
            _ => &[],
        }
    }

    /// Compresses the first `len` bytes of the input, and returns how many bytes they became; `None` if this
    /// crate's software has to do it.
    pub(crate) fn compress(&mut self, len: usize) -> Option<usize> {
        self.run(Work::Compress, Work::Compress, len, None)
    }

    /// Decompresses the first `len` bytes of the input to exactly `room` bytes of output; `false` if this
    /// crate's software has to do it, which then also says what is wrong with a payload that is wrong.
    pub(crate) fn decompress(&mut self, len: usize, room: usize) -> bool {
        // The library sees only what it cannot misread.
        let payload = self.input().get(..len).unwrap_or_default();
        let shape = Shape::of(payload).map_err(|(at, what)| format!("{what} (payload byte {at})"));
        let fitting = shape.and_then(|shape| match shape.content == room {
            true => Ok(shape),
            false => Err(format!("{} bytes of content, wanted {room}", shape.content)),
        });
        match fitting {
            Err(what) => {
                self.tell(what);
                self.count(Outcome::Own(Fallback::Unsupported));
                false
            }
            Ok(shape) => {
                let unfit = shape.not_for_device().map(Trouble::unsupported);
                let (device, software) = (Work::Decompress(room), Work::DecompressChecked(room));
                self.run(device, software, len, unfit).is_some()
            }
        }
    }

    /// Counts a packet whose input is not for the library any more.
    pub(crate) fn pass(&mut self) {
        self.count(Outcome::Own(Fallback::NoDevice));
    }

    /// Whether this crate may do a packet that the device has not done.
    ///
    /// # Errors
    /// It may not: the device has to do every packet, and why it did not do this one.
    pub(crate) fn permit(&self) -> Result<(), MethodError> {
        match self.last {
            Some(Outcome::Device(CodecPath::Hardware)) => Ok(()),
            _ if !self.must => Ok(()),
            _ => Err(refusal("the device did not do a packet", &self.trouble)),
        }
    }

    /// Which implementation did the packets so far.
    pub(crate) fn counts(&self) -> PathCounts {
        self.counts
    }

    /// Tries one way after the other, and counts the packet. `unfit` is why it is not for the device.
    fn run(
        &mut self,
        device: Work,
        software: Work,
        len: usize,
        unfit: Option<Trouble>,
    ) -> Option<usize> {
        let reason = match self.by_device(device, len, unfit) {
            Ok((path, made)) => {
                self.count(Outcome::Device(path));
                return Some(made);
            }
            Err(reason) => reason,
        };
        let made = self.by_software(software, len);
        self.count(match made {
            Some(_) => Outcome::Library(reason),
            None => Outcome::Own(reason.unwrap_or(Fallback::Failed)),
        });
        made
    }

    /// Returns what the device did, and whether it was really the device; or why it did not, which is `None`
    /// if it is not to be used.
    fn by_device(
        &mut self,
        work: Work,
        len: usize,
        unfit: Option<Trouble>,
    ) -> Result<(CodecPath, usize), Option<Fallback>> {
        let worker = match &mut self.device {
            Device::Unwanted => return Err(None),
            Device::Lost(_) => return Err(Some(Fallback::NoDevice)),
            Device::Usable(worker) => worker,
        };
        let mut trouble = match unfit.map_or_else(|| worker.run(work, len), Err) {
            Ok(made) => {
                self.busy = 0;
                // A driver that does not know the level.
                if made.is_of_software {
                    self.trouble = "the library did it in software".to_owned();
                    return Ok((CodecPath::VendorSoftware, made.len));
                }
                return Ok((CodecPath::Hardware, made.len));
            }
            Err(trouble) => trouble,
        };
        if trouble.reason == Fallback::Busy {
            // Also what the library answers once the device has failed for good.
            self.busy += 1;
            trouble.is_lost |= self.busy >= MOST_BUSY;
        }
        if trouble.is_lost
            && let Device::Usable(worker) = std::mem::replace(&mut self.device, Device::Lost(None))
        {
            self.device = Device::Lost(Some(worker));
        }
        self.tell(trouble.what);
        Err(Some(trouble.reason))
    }

    /// Returns what the library's software did.
    fn by_software(&mut self, work: Work, len: usize) -> Option<usize> {
        let worker = self.software.as_mut()?;
        if let Device::Usable(first) | Device::Lost(Some(first)) = &self.device {
            let input = first.input().get(..len)?;
            worker.input_mut()?.get_mut(..len)?.copy_from_slice(input);
        }
        match worker.run(work, len) {
            Ok(made) => Some(made.len),
            Err(trouble) => {
                self.tell(trouble.what);
                None
            }
        }
    }

    fn count(&mut self, outcome: Outcome) {
        self.last = Some(outcome);
        let (path, reason) = match outcome {
            Outcome::Device(path) => (path, None),
            Outcome::Library(reason) => (CodecPath::VendorSoftware, reason),
            Outcome::Own(reason) => (CodecPath::Software, Some(reason)),
        };
        self.counts.count(path);
        if let Some(reason) = reason {
            self.counts.fell_back(reason);
        }
    }

    /// Says why the first packet of the channel fell back. The others are only counted.
    fn tell(&mut self, what: String) {
        if !self.told && !self.must {
            self.told = true;
            let channel = self.channel;
            log::warn!("{NAME}: channel {channel} falls back: {what}; more is counted, not told");
        }
        self.trouble = what;
    }
}

/// The device has to do everything, and does not.
fn refusal(what: &str, why: &str) -> MethodError {
    let (option, choice) = (Accelerator::OPTION, Accelerator::Hardware);
    MethodError::device(NAME, format!("{option}={choice}, but {what}: {why}"))
}

/// So many packets in a row find a device busy that is there: it is taken for one that has failed.
const MOST_BUSY: u32 = 64;

/// The threads' names, which a channel's number follows: 15 bytes in all.
const DEVICE_THREAD: &str = "multifd-dev";
const SOFTWARE_THREAD: &str = "multifd-lib";
