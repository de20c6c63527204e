// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Numbers with a range. A value that exists is in range; nobody checks it again.

use std::fmt;
use std::num::{NonZeroU8, NonZeroU64};
use std::str::FromStr;
use std::time::Duration;

use super::error::ValueError;
use super::number;
use super::value::{self, Form, Value};

/// Declares number types: `Name(repr) = MIN..=MAX, "QMP's type", "printed unit", reader;`.
macro_rules! bounded {
    ($(
        $(#[$doc:meta])*
        $name:ident($repr:ident) = $min:literal..=$max:expr, $kind:literal, $unit:literal, $read:path;
    )*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($repr);

        impl $name {
            /// The smallest value.
            pub const MIN: $repr = $min;
            /// The largest value.
            pub const MAX: $repr = $max;

            /// Takes `value` if it is in range.
            ///
            /// # Errors
            ///
            /// [`ValueError`] names the range.
            pub fn new(value: $repr) -> Result<Self, ValueError> {
                Self::checked(u64::from(value))
                    .ok_or_else(|| value::refused::<Self>(stringify!($name), value))
            }

            /// A constant whose range the compiler checks.
            #[must_use]
            pub const fn constant<const VALUE: $repr>() -> Self {
                const { assert!(Self::MIN <= VALUE && VALUE <= Self::MAX) };
                Self(VALUE)
            }

            /// The number.
            #[must_use]
            pub const fn value(self) -> $repr {
                self.0
            }

            fn checked(value: u64) -> Option<Self> {
                let value = $repr::try_from(value).ok()?;
                (Self::MIN..=Self::MAX).contains(&value).then_some(Self(value))
            }
        }

        impl Value for $name {
            const KIND: &'static str = $kind;
            const UNIT: &'static str = $unit;

            fn allowed() -> String {
                number::between(u64::from(Self::MIN), u64::from(Self::MAX))
            }

            fn read(text: &str, form: Form) -> Option<Self> {
                Self::checked($read(text, form)?)
            }

            fn text(&self) -> String {
                self.0.to_string()
            }
        }

        impl TryFrom<$repr> for $name {
            type Error = ValueError;

            fn try_from(value: $repr) -> Result<Self, ValueError> {
                Self::new(value)
            }
        }

        impl From<$name> for $repr {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ValueError;

            fn from_str(text: &str) -> Result<Self, ValueError> {
                value::parse_alone(stringify!($name), text)
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let value = u64::deserialize(from)?;
                Self::checked(value).ok_or_else(|| {
                    serde::de::Error::custom(value::refused::<Self>(stringify!($name), value))
                })
            }
        }
    )*};
}

bounded! {
    /// How many multifd channels carry pages. The wire has one byte for a channel's number.
    ChannelCount(u8) = 1..=255, "u8", "", number::integer;
    /// The level of deflate in zlib's scale: 0 stores, 1 is fastest, 9 is smallest.
    ZlibLevel(u8) = 0..=9, "u8", "", number::integer;
    /// The level of zstd: 0 is the library's default, 1 is fastest, 20 is smallest.
    ZstdLevel(u8) = 0..=20, "u8", "", number::integer;
    /// The level of QATzip: 1 is fastest, 9 is smallest.
    QatzipLevel(u8) = 1..=9, "u8", "", number::integer;
    /// Bytes per second, up to what a size of this host can hold. The meaning of 0 is the parameter's.
    Bandwidth(u64) = 0..=(usize::MAX as u64), "size", "bytes/second", number::bandwidth;
    /// How long the guest may stand still at the switchover, in milliseconds, up to 2000 seconds.
    DowntimeLimit(u64) = 0..=2_000_000, "u64", "ms", number::integer;
    /// A share of the bytes sent, in percent.
    Percent(u8) = 1..=100, "u8", "", number::integer;
    /// The share of time that auto-converge takes from the vCPUs, in percent.
    CpuThrottle(u8) = 1..=99, "u8", "", number::integer;
    /// A pause between self-announcements, in milliseconds.
    AnnounceDelay(u64) = 0..=100_000, "size", "ms", number::size;
    /// How many self-announcements follow a migration.
    AnnounceRounds(u64) = 0..=1000, "size", "", number::size;
    /// By how much the pause between self-announcements grows, in milliseconds.
    AnnounceStep(u64) = 1..=10_000, "size", "ms", number::size;
    /// The dirty rate that a throttled vCPU keeps, in MB/s.
    VcpuDirtyLimit(u64) = 1..=u64::MAX, "u64", "MB/s", number::integer;
    /// How often dirty rates are measured for the limit, in milliseconds.
    DirtyLimitPeriod(u64) = 1..=1000, "u64", "ms", number::integer;
}

impl From<ChannelCount> for NonZeroU8 {
    fn from(count: ChannelCount) -> Self {
        // Counted up from one, so that it needs no belief that it is not zero.
        Self::MIN.saturating_add(count.0.saturating_sub(1))
    }
}

impl Bandwidth {
    /// The number, or `None` where 0 means unlimited (`max-bandwidth`) or not given
    /// (`avail-switchover-bandwidth`).
    #[must_use]
    pub const fn non_zero(self) -> Option<NonZeroU64> {
        NonZeroU64::new(self.0)
    }
}

impl DowntimeLimit {
    /// The limit as a span of time.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Below, at and above both ends of a range, by number and by text.
    macro_rules! edges {
        ($($test:ident: $name:ident, $min:expr, $max:expr;)*) => {$(
            #[test]
            fn $test() {
                let (min, max): (u64, u64) = ($min, $max);
                for inside in [min, min + 1, max - 1, max] {
                    assert_eq!($name::checked(inside).unwrap().value().to_string(), inside.to_string());
                    let read: $name = inside.to_string().parse().unwrap();
                    assert_eq!(u64::from(read.value()), inside);
                }
                for outside in [min.checked_sub(1), max.checked_add(1)].into_iter().flatten() {
                    assert_eq!($name::checked(outside), None);
                    let error = outside.to_string().parse::<$name>().unwrap_err();
                    assert_eq!(error.kind, stringify!($name));
                    assert_eq!(error.given, outside.to_string());
                    assert_eq!(error.allowed, number::between(min, max));
                }
                assert_eq!((u64::from($name::MIN), u64::from($name::MAX)), (min, max));
            }
        )*};
    }

    edges! {
        channel_count: ChannelCount, 1, 255;
        zlib_level: ZlibLevel, 0, 9;
        zstd_level: ZstdLevel, 0, 20;
        qatzip_level: QatzipLevel, 1, 9;
        bandwidth: Bandwidth, 0, usize::MAX as u64;
        downtime_limit: DowntimeLimit, 0, 2_000_000;
        percent: Percent, 1, 100;
        cpu_throttle: CpuThrottle, 1, 99;
        announce_delay: AnnounceDelay, 0, 100_000;
        announce_rounds: AnnounceRounds, 0, 1000;
        announce_step: AnnounceStep, 1, 10_000;
        vcpu_dirty_limit: VcpuDirtyLimit, 1, u64::MAX;
        dirty_limit_period: DirtyLimitPeriod, 1, 1000;
    }

    #[test]
    fn new_refuses_with_type_number_and_range() {
        assert_eq!(
            QatzipLevel::new(0).unwrap_err().to_string(),
            "QatzipLevel expects a value between 1 and 9, got '0'"
        );
        assert_eq!(QatzipLevel::try_from(9).map(u8::from), Ok(9));
        assert_eq!(
            VcpuDirtyLimit::new(0).unwrap_err().to_string(),
            "VcpuDirtyLimit expects a value of at least 1, got '0'"
        );
    }

    #[test]
    fn text_may_carry_the_printed_unit() {
        assert_eq!("300 ms".parse(), Ok(DowntimeLimit(300)));
        assert_eq!(" 7 MB/s ".parse(), Ok(VcpuDirtyLimit(7)));
        assert_eq!("1G".parse(), Ok(Bandwidth(1 << 30)));
        assert!("1G".parse::<DowntimeLimit>().is_err());
        assert!("ms".parse::<DowntimeLimit>().is_err());
    }

    #[test]
    fn a_count_of_channels_is_not_zero() {
        for count in ChannelCount::MIN..=ChannelCount::MAX {
            let channels = ChannelCount::new(count).unwrap();
            assert_eq!(NonZeroU8::from(channels).get(), count);
        }
    }

    #[test]
    fn zero_bandwidth_is_no_number() {
        assert_eq!(Bandwidth(0).non_zero(), None);
        assert_eq!(Bandwidth(5).non_zero(), NonZeroU64::new(5));
        assert_eq!(DowntimeLimit(300).duration(), Duration::from_millis(300));
    }
}
