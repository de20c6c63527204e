// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What link, processors and receiver take, made out from what is sent.

use super::mix::{Point, Rates};
use super::window::Summary;

/// How fast things go at most, as far as it has been seen.
///
/// A link that is never full has no known rate: it is believed to be faster and faster, until channels wait for it. One
/// that is full shows its rate; if it is full no more, that may be because processors give no more, so that it is believed
/// to be faster only step by step, and as far as more comes through. A receiver that is slower than its link looks like a slow link, and more compression
/// makes it slower still; that is told from the link by less coming through when it gets more to do.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    link: f64,
    /// Seconds per unit of the receiver's work; 0 is not known.
    receiver: f64,
    /// The receiver's work per byte when the link's rate was seen last.
    receiver_at_link: f64,
    stretch: f64,
    /// By how much the link is believed to be faster, next time that it is not full.
    growth: f64,
    /// Windows since a faster link was looked for.
    since_look: u32,
    /// After how many it is looked for again.
    look_after: u32,
    /// How far it has been looked, while that is done.
    looking: Option<u32>,
    /// Bytes sent for each of before, while that is done.
    offered: f64,
    seen: bool,
    /// Windows in a row in which the link was not full.
    free: u32,
    /// After how many of them it is believed to be faster.
    patience: u32,
    /// What it was before that.
    grown_from: Option<f64>,
    /// Full windows in a row that have shown the same link.
    sure: u32,
    /// Full windows in a row that might show a slow receiver.
    doubt: u32,
    trial: Option<Trial>,
    /// The rate of the last window in which nothing was looked for.
    usual_rate: f64,
}

/// A receiver that is believed to be slow, until it is judged.
#[derive(Clone, Debug)]
struct Trial {
    /// Windows until then.
    left: u32,
    /// How fast memory was sent when that was first believed.
    guest_rate: f64,
}

impl Limits {
    pub(super) fn new() -> Self {
        Self {
            link: 0.0,
            receiver: 0.0,
            receiver_at_link: 0.0,
            stretch: 1.0,
            growth: FIRST_GROWTH,
            since_look: 0,
            look_after: LOOK_AFTER,
            looking: None,
            offered: 1.0,
            seen: false,
            free: 0,
            patience: PATIENCE,
            grown_from: None,
            sure: 0,
            doubt: 0,
            trial: None,
            usual_rate: 0.0,
        }
    }

    /// Takes note of a window in which a byte took `point`.
    pub(super) fn learn(&mut self, window: &Summary, point: &Point) {
        let follow = if window.stretch > self.stretch {
            STRETCH_UP
        } else {
            // Who waits for the link leaves processors to others: what these still take counts at once.
            STRETCH_DOWN + window.slack * SPARE
        };
        let stretch = window.stretch.min(self.stretch * MORE_STRETCH);
        self.stretch += (stretch - self.stretch) * follow;
        if window.idle > MOST_IDLE {
            return;
        }
        if self.looking.is_none() {
            self.usual_rate = window.wire_rate;
        }
        match window.slack > full_from(window) {
            true => self.full(window, point),
            false => self.not_full(window),
        }
        self.judge(window);
        self.receiver *= 1.0 - FORGET_RECEIVER;
        self.receiver = self
            .receiver
            .min(1.0 / (window.guest_rate * point.receiver));
    }

    /// The rates, for so many channels on so many processors.
    pub(super) fn rates(&self, channels: usize, processors: usize) -> Rates {
        let working = channels.max(1) as f64 / self.stretch;
        Rates {
            link: self.link.max(SLOWEST),
            processors: working.min(processors.max(1) as f64),
            receiver: 1.0 / self.receiver.max(NO_TIME),
        }
    }

    /// What share of the next packets is to be sent as it is to look for a faster link, out of `of`.
    pub(super) fn looks(&self, of: u32) -> Option<u32> {
        let far = self.looking?;
        Some((of >> LOOK_FAR.saturating_sub(far)).max(1))
    }

    /// So many bytes are sent from now on for each of before, to look; as many mean that there is nothing to look with.
    pub(super) fn offer(&mut self, more: f64) {
        self.offered = more;
        if more <= 1.0 {
            self.looking = None;
        }
    }

    /// More could have been sent than came through.
    fn full(&mut self, window: &Summary, point: &Point) {
        let rate = window.wire_rate;
        let harder = self.sure >= SURE && point.receiver > self.receiver_at_link * HARDER;
        let same = rate > self.link / FAR && rate < self.link * FAR;
        let found = self.has_found(rate);
        if !self.seen {
            (self.link, self.receiver_at_link) = (rate, point.receiver);
        } else if found {
            // The link takes more, and yet channels wait: for the receiver.
            self.link = rate;
            self.receiver = 1.0 / (window.guest_rate * point.receiver);
        } else if harder && window.slack > RECEIVERS_SLACK && rate < self.link / HARDER {
            self.doubt += 1;
            if self.doubt >= DOUBT {
                self.receiver = 1.0 / (window.guest_rate * point.receiver);
                self.trial.get_or_insert(Trial {
                    left: TRIAL,
                    guest_rate: window.guest_rate,
                });
            }
            self.link *= 1.0 - FORGET;
        } else {
            let (follow, before) = (if rate < self.link / FAR { 1.0 } else { FOLLOW }, self.link);
            self.link += (rate - self.link) * follow;
            let settled = rate > self.link / MORE || rate < before / FAR;
            if settled && self.looking.is_none() {
                self.receiver_at_link = point.receiver;
            }
            self.sure = if same { self.sure.saturating_add(1) } else { 0 };
        }
        if !(harder && rate < self.link / HARDER) {
            self.doubt = 0;
        }
        if let Some(from) = self.grown_from.take().filter(|_| self.seen) {
            self.patience = match rate > from * FASTER {
                true => PATIENCE,
                false => (self.patience * 2).min(MOST_PATIENCE),
            };
        }
        self.seen = true;
        self.free = 0;
        self.growth = GROWTH;
        self.look(found);
    }

    /// Nearly all that could be made came through at once.
    fn not_full(&mut self, window: &Summary) {
        let rate = window.wire_rate;
        if rate <= 0.0 {
            return;
        }
        self.free = self.free.saturating_add(1);
        // A belief that nothing has kept up with yet does not grow by much.
        let keeps_up = !self.seen || rate > self.link * KEEPS_UP;
        // Buffers that had room take more for a moment.
        if rate > self.link {
            self.link += (rate - self.link) * if self.seen { FOLLOW } else { 1.0 };
        }
        if !self.seen || self.free >= self.patience {
            self.grown_from.get_or_insert(self.link);
            let growth = self.growth * (1.0 - window.slack / full_from(window));
            let most = rate * if keeps_up { AHEAD } else { NEAR };
            self.link = self.link.max((self.link * (1.0 + growth)).min(most));
        }
        self.sure = 0;
        let found = self.has_found(rate);
        if window.slack < FULL / 4.0 && !found {
            self.growth = match keeps_up {
                true => (self.growth * 2.0).min(MOST_GROWTH),
                false => GROWTH,
            };
            self.looking = None;
            self.since_look = 0;
        } else {
            self.growth = GROWTH;
            if self.looking.is_some() {
                self.look(found);
            }
        }
    }

    /// A receiver that has been found slow gets less to do. If no more comes through by that, it was the link.
    fn judge(&mut self, window: &Summary) {
        let Some(trial) = &mut self.trial else {
            return;
        };
        if trial.left > 0 {
            trial.left -= 1;
            return;
        }
        let before = trial.guest_rate;
        self.trial = None;
        if window.guest_rate < before * BETTER {
            (self.receiver, self.receiver_at_link) = (0.0, 1.0);
            self.link = window.wire_rate;
            self.sure = 0;
        }
    }

    /// Whether more comes through since more is sent.
    fn has_found(&self, rate: f64) -> bool {
        self.looking.is_some() && rate > self.usual_rate * (1.0 + (self.offered - 1.0) * FOUND)
    }

    /// A receiver that has always been slow has never shown the link: now and then a bit more is sent, and more and more
    /// as long as that comes through. Where it was for nothing it is not tried again soon.
    fn look(&mut self, found: bool) {
        self.since_look += 1;
        self.looking = match self.looking {
            Some(far) if found => Some(far + 1).filter(|far| *far < LOOK_FAR),
            Some(_) => {
                self.look_after = (self.look_after * 2).min(LOOK_SELDOM);
                None
            }
            None if self.since_look > self.look_after => Some(0),
            None => None,
        };
        if found {
            self.look_after = LOOK_AFTER;
        }
        if self.looking.is_some() {
            self.since_look = 0;
        }
    }
}

/// The share of its time from which on a channel that waits for its connection has a full link. Where threads wait for
/// processors, too, it may be for want of one that the other end takes nothing.
fn full_from(window: &Summary) -> f64 {
    FULL + (window.stretch - 1.0).min(MOST_CONTENDED) * CONTENDED
}

/// That share where all threads have a processor.
const FULL: f64 = 0.08;
/// What is added for a thread that waits for a processor as long as it works, and the most that counts.
const CONTENDED: f64 = 0.06;
const MOST_CONTENDED: f64 = 1.0;
/// After so many windows in a row that are not full a link whose rate was seen may have become faster.
const PATIENCE: u32 = 3;
/// The same where it was for nothing again and again.
const MOST_PATIENCE: u32 = 8;
/// A link that is faster by this factor is another one.
const FASTER: f64 = 1.2;
/// What is sent keeps up with what the link is believed to take from this share of it on.
const KEEPS_UP: f64 = 0.8;
/// A link that was seen is believed to be this much faster at most than what is sent, if that does not keep up.
const NEAR: f64 = 1.25;
/// One that waits for less than this share has no slow receiver.
const RECEIVERS_SLACK: f64 = 0.2;
/// A window in which channels have nothing to do for more than this share of the time tells nothing of the link.
const MOST_IDLE: f64 = 0.4;
/// What the receiver has more to do, and how much less comes through then, to be taken for slow: a few packets make noise.
const HARDER: f64 = 1.2;
/// What is more than just noise.
const MORE: f64 = 1.06;
/// How much of the way to what a window has shown is gone at once.
const FOLLOW: f64 = 0.3;
/// A rate that differs from what was believed by this factor is that of another link.
const FAR: f64 = 1.4;
/// As many windows in a row make a rate sure.
const SURE: u32 = 4;
/// As many windows in a row make a slow receiver.
const DOUBT: u32 = 2;
/// After so many windows with less work for the receiver this much more has to come through.
const TRIAL: u32 = 4;
const BETTER: f64 = 1.1;
/// A link that is not full is believed to be this much faster at most than what is sent.
const AHEAD: f64 = 12.0;
/// What contention has shown is not forgotten with the first moment without it.
const STRETCH_UP: f64 = 0.4;
const STRETCH_DOWN: f64 = 0.1;
/// How much faster it is forgotten with the share of the time that is spent waiting for the link.
const SPARE: f64 = 0.7;
/// A moment in which a thread did not run at all is not believed at once.
const MORE_STRETCH: f64 = 3.0;
const FORGET: f64 = 0.02;
/// A receiver is tried again soon: it may have been something else.
const FORGET_RECEIVER: f64 = 0.05;
const FIRST_GROWTH: f64 = 9.0;
const GROWTH: f64 = 0.06;
const MOST_GROWTH: f64 = 2.0;
/// How often that share doubles until it is all: an eighth is the first.
const LOOK_FAR: u32 = 3;
/// The share of what was sent more, when it was looked for, that has to come through.
const FOUND: f64 = 0.6;
/// Windows between two looks, at first and at most.
const LOOK_AFTER: u32 = 20;
const LOOK_SELDOM: u32 = 160;
/// Seconds.
const NO_TIME: f64 = 1e-15;
/// Bytes per second.
const SLOWEST: f64 = 1e3;
