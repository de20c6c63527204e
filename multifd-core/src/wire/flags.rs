// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What all packets start with: magic, version, and flags with the number of a compression method.

use std::fmt;

/// First four bytes of a multifd connection and of every packet on it.
pub const MULTIFD_MAGIC: u32 = 0x1122_3344;
/// The only version of the multifd packets there has ever been.
pub const MULTIFD_VERSION: u32 = 1;
/// First four bytes of the main connection, `QEVM`.
pub const MAIN_MAGIC: u32 = 0x5145_564d;
/// Length in bytes of what all packets start with: magic, version, flags.
pub const COMMON_HEADER_LEN: usize = 12;

/// Number of a compression method: the value of the five method bits of a packet's flags.
///
/// It is a number, not a set of bits. QEMU before 9.1 knows only the lower three of the five.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MethodId(u8);

/// How a method is known: its number in packets, and its name as a value of `multifd-compression`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MethodIdentity {
    id: MethodId,
    name: &'static str,
}

/// The methods that QEMU has: the only place that has their numbers and names.
macro_rules! methods {
    ($( $(#[$doc:meta])* $constant:ident = $number:literal, $name:literal; )*) => {
        impl MethodId {
            $( $(#[$doc])* pub const $constant: Self = Self($number); )*

            /// QEMU's name of the method, if it has one of this number.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $( $number => Some($name), )*
                    _ => None,
                }
            }
        }

        impl MethodIdentity {
            $( $(#[$doc])* pub const $constant: Self = Self { id: MethodId($number), name: $name }; )*

            /// All that QEMU has.
            pub const QEMUS: &'static [Self] = &[ $( Self::$constant, )* ];
        }
    };
}

methods! {
    /// Pages as they are.
    NONE = 0, "none";
    /// One deflate stream per channel.
    ZLIB = 1, "zlib";
    /// zstd frames.
    ZSTD = 2, "zstd";
    /// Deflate per page, Intel QPL.
    QPL = 4, "qpl";
    /// zlib per page, Kunpeng UADK.
    UADK = 8, "uadk";
    /// gzip members, Intel QATzip.
    QATZIP = 16, "qatzip";
}

impl MethodIdentity {
    /// That of a method that QEMU does not have.
    #[must_use]
    pub const fn new(id: MethodId, name: &'static str) -> Self {
        Self { id, name }
    }

    /// The number in each packet's flags.
    #[must_use]
    pub const fn id(self) -> MethodId {
        self.id
    }

    /// The name that `multifd-compression` has for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }
}

impl MethodId {
    /// Takes a number of 0 to 31; `None` above, which the wire has no room for.
    pub const fn new(number: u8) -> Option<Self> {
        if number < 32 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for MethodId {
    /// QEMU's name; the number where there is none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "method {}", self.0),
        }
    }
}

impl fmt::Debug for MethodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The flags of one packet. Bits that have no meaning yet are kept and ignored, as QEMU does.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct PacketFlags(u32);

impl PacketFlags {
    /// A barrier: flags of a SYNC packet, which carries no method.
    pub const SYNC: Self = Self(0x01);
    /// The packet is a device state packet.
    pub const DEVICE_STATE: Self = Self(0x40);
    const METHOD_SHIFT: u32 = 1;
    const METHOD_MASK: u32 = 0x3e;

    /// The flags with this value on the wire.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The flags of a packet with pages of `method`.
    pub const fn pages(method: MethodId) -> Self {
        Self((method.0 as u32) << Self::METHOD_SHIFT)
    }

    /// The value on the wire.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether this packet is (also) a barrier.
    pub const fn is_sync(self) -> bool {
        self.0 & Self::SYNC.0 != 0
    }

    /// Whether this packet carries device state.
    pub const fn is_device_state(self) -> bool {
        self.0 & Self::DEVICE_STATE.0 != 0
    }

    /// The method of the packet's pages.
    pub const fn method(self) -> MethodId {
        // The mask leaves five bits.
        MethodId(((self.0 & Self::METHOD_MASK) >> Self::METHOD_SHIFT) as u8)
    }
}

impl fmt::Display for PacketFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x} ({}", self.0, self.method())?;
        if self.is_sync() {
            f.write_str(", SYNC")?;
        }
        if self.is_device_state() {
            f.write_str(", DEVICE_STATE")?;
        }
        f.write_str(")")
    }
}

impl fmt::Debug for PacketFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_values_are_those_on_the_wire() {
        for (method, bits) in [
            (MethodId::NONE, 0x00),
            (MethodId::ZLIB, 0x02),
            (MethodId::ZSTD, 0x04),
            (MethodId::QPL, 0x08),
            (MethodId::UADK, 0x10),
            (MethodId::QATZIP, 0x20),
        ] {
            assert_eq!(PacketFlags::pages(method).bits(), bits);
            assert_eq!(PacketFlags::from_bits(bits | 0xffff_ff81).method(), method);
        }
        assert_eq!(MethodId::new(32), None);
    }

    #[test]
    fn flags_print_what_they_mean() {
        assert_eq!(
            PacketFlags::from_bits(0x45).to_string(),
            "0x45 (zstd, SYNC, DEVICE_STATE)"
        );
        assert_eq!(PacketFlags::from_bits(0x06).to_string(), "0x6 (method 3)");
    }
}
