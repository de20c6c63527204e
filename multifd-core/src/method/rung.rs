// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What a sending channel may choose from for each packet.

/// One of the ways in which a method can make a packet's payload. All of them are the same format: a receiver neither
/// knows nor has to know which one was taken.
///
/// Cost and gain say how the rungs of one ladder are expected to compare, so that a single one that has been tried
/// tells something of all; what they really are in a migration is measured there.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Rung {
    /// What it is called where it is shown: `raw`, or the level.
    pub name: &'static str,
    /// The level, as the method's parameter counts it; 0 and less for what is weaker than all of its levels.
    pub level: i8,
    /// CPU time that a byte of guest memory takes, in any unit that is the same for the whole ladder.
    pub cost: f32,
    /// What share of the bytes it saves where memory is as usual: 0 to 1.
    pub gain: f32,
}

impl Rung {
    /// What stands for a method that has nothing to choose from.
    pub const ONLY: Self = Self::new("only", 0, 1.0, 0.0);

    /// A rung.
    pub const fn new(name: &'static str, level: i8, cost: f32, gain: f32) -> Self {
        Self {
            name,
            level,
            cost,
            gain,
        }
    }

    /// Pages as they are, at this cost.
    pub const fn raw(cost: f32) -> Self {
        Self::new("raw", 0, cost, 0.0)
    }

    /// Whether it leaves pages as they are, or is all that there is.
    pub fn is_raw(&self) -> bool {
        self.gain == 0.0
    }
}

/// What was sent on one rung.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RungCount {
    /// The rung's name; none of a rung that is not there.
    pub name: &'static str,
    /// Packets with payload.
    pub packets: u64,
    /// Bytes of their pages with payload.
    pub guest_bytes: u64,
    /// Their bytes on the connection.
    pub wire_bytes: u64,
}

impl RungCount {
    /// Adds what another channel has sent.
    pub fn add(&mut self, other: &Self) {
        if self.name.is_empty() {
            self.name = other.name;
        }
        self.packets += other.packets;
        self.guest_bytes += other.guest_bytes;
        self.wire_bytes += other.wire_bytes;
    }
}

/// A ladder has no more rungs than this.
pub const MOST_RUNGS: usize = 16;

/// The rungs of a ladder up to a level, but no more than [`MOST_RUNGS`]; at least the lowest.
pub fn rungs_up_to(ladder: &'static [Rung], level: u8) -> &'static [Rung] {
    let within = |rung: &&Rung| i16::from(rung.level) <= i16::from(level);
    let count = ladder.iter().take_while(within).count();
    ladder.get(..count.clamp(1, MOST_RUNGS)).unwrap_or(ladder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_cuts_the_ladder() {
        const LADDER: &[Rung] = &[
            Rung::raw(1.0),
            Rung::new("-3", -3, 2.0, 0.4),
            Rung::new("1", 1, 3.0, 0.5),
            Rung::new("9", 9, 30.0, 0.6),
        ];
        let names = |level| -> Vec<_> {
            let rungs = rungs_up_to(LADDER, level).iter();
            rungs.map(|rung| rung.name).collect()
        };
        assert_eq!(names(0), ["raw", "-3"]);
        assert_eq!(names(8), ["raw", "-3", "1"]);
        assert_eq!(names(u8::MAX), ["raw", "-3", "1", "9"]);
    }
}
