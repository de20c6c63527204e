// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How far the sending channels of a relay are.

use std::time::{Duration, Instant};

use crossbeam_channel::{self as queue, select_biased};

use super::delay::{Delay, DelayCounters};
use crate::engine::channel_start::{dropped, not_set_up};
use crate::engine::control::Control;
use crate::error::Error;
use crate::geometry::{ChannelCount, ChannelId};

/// The barriers that were passed to the sending channels, and which of them each has sent.
#[derive(Debug)]
pub(super) struct Rounds {
    reports: queue::Receiver<RoundReached>,
    /// How many SYNC packets each channel has sent; `None` until it is set up.
    channels: Vec<Option<u64>>,
    /// How many they have been told to send. A channel may be ahead of it by one: packets of the next
    /// round tell it, too.
    round: u64,
    /// When the last barrier was complete, until the last channel has sent it.
    met: Option<Instant>,
    delays: DelayCounters,
}

/// What a channel tells: that it is set up, or has sent one more SYNC.
#[derive(Debug)]
pub(super) struct RoundReached {
    pub(super) channel: ChannelId,
    pub(super) round: u64,
    pub(super) at: Instant,
}

impl Rounds {
    /// Nothing is set up yet. Also returns where the channels report.
    pub(super) fn new(channels: ChannelCount) -> (Self, queue::Sender<RoundReached>) {
        let (report, reports) = queue::bounded(REPORTS_PER_CHANNEL * channels.count());
        let rounds = Self {
            reports,
            channels: vec![None; channels.count()],
            round: 0,
            met: None,
            delays: DelayCounters::default(),
        };
        (rounds, report)
    }

    /// A barrier was complete at `met`, and the channels are told so.
    pub(super) fn start(&mut self, met: Instant) {
        self.round += 1;
        self.met = Some(met);
        self.note(met);
    }

    /// Waits until every channel has sent every barrier.
    ///
    /// # Errors
    /// The migration failed.
    pub(super) fn wait(&mut self, control: &Control) -> Result<(), Error> {
        while !self.is_settled() {
            let report = select_biased! {
                recv(control.woken()) -> _ => return Err(control.reason()),
                recv(self.reports) -> report => report.map_err(|_| control.reason())?,
            };
            self.take(&report);
        }
        Ok(())
    }

    /// Waits until every channel is set up, for no longer than `limit`.
    ///
    /// # Errors
    /// The migration failed, or the host has dropped a thread, and a limit that is over.
    pub(super) fn wait_set_up(&mut self, control: &Control, limit: Duration) -> Result<(), Error> {
        let deadline = Instant::now().checked_add(limit);
        let deadline = deadline.map_or_else(queue::never, queue::at);
        while !self.is_settled() {
            select_biased! {
                recv(control.woken()) -> _ => return Err(control.reason()),
                recv(self.reports) -> report => match report {
                    Ok(report) => self.take(&report),
                    Err(_) => return Err(dropped(control)),
                },
                recv(deadline) -> _ => {
                    let left = self.channels.iter().filter(|round| round.is_none()).count();
                    return Err(not_set_up(left, limit));
                }
            }
        }
        Ok(())
    }

    /// From each barrier's last arrival until it was sent on the last channel.
    pub(super) fn delays(&mut self) -> Delay {
        while let Ok(report) = self.reports.try_recv() {
            self.take(&report);
        }
        self.delays.read()
    }

    fn take(&mut self, report: &RoundReached) {
        if let Some(channel) = self.channels.get_mut(report.channel.index()) {
            *channel = Some(report.round);
        }
        self.note(report.at);
    }

    /// Notes the time once the last barrier is sent everywhere.
    fn note(&mut self, at: Instant) {
        if self.is_settled()
            && let Some(met) = self.met.take()
        {
            self.delays.add(at.saturating_duration_since(met));
        }
    }

    fn is_settled(&self) -> bool {
        self.channels.iter().min() >= Some(&Some(self.round))
    }
}

/// A channel is at most one barrier ahead of what it was told, and has not been asked since the one
/// before: two reports, and that of its set-up.
const REPORTS_PER_CHANNEL: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_that_is_ahead_does_not_stand_for_another() {
        let channels = ChannelCount::new(2).unwrap();
        let [one, two]: [ChannelId; 2] = channels.ids().collect::<Vec<_>>().try_into().unwrap();
        let (mut rounds, report) = Rounds::new(channels);
        let start = Instant::now();
        let tell = |channel, round, millis| {
            let at = start + Duration::from_millis(millis);
            report.send(RoundReached { channel, round, at }).unwrap();
        };
        assert!(!rounds.is_settled());
        tell(one, 0, 0);
        tell(two, 0, 0);
        let control = Control::new();
        rounds.wait(&control).unwrap();

        rounds.start(start);
        tell(one, 1, 5);
        tell(one, 2, 6);
        rounds.delays();
        assert!(!rounds.is_settled());
        tell(two, 1, 30);
        rounds.wait(&control).unwrap();
        let delay = rounds.delays();
        assert_eq!((delay.count, delay.last), (1, Duration::from_millis(30)));

        // The other one comes before this side has said so.
        tell(two, 2, 40);
        rounds.delays();
        rounds.start(start + Duration::from_millis(41));
        assert!(rounds.is_settled());
        assert_eq!(rounds.delays().count, 2);
        assert_eq!(rounds.delays().last, Duration::ZERO);
    }

    #[test]
    fn nobody_waits_after_the_end() {
        let (mut rounds, _report) = Rounds::new(ChannelCount::default());
        let control = Control::new();
        control.fail(Error::aborted());
        rounds.wait(&control).unwrap_err();
    }
}
