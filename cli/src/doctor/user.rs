// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Who asks: what may be opened, and how much memory may be locked.

/// A process's identity, from `/proc/self/status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct User {
    uid: u32,
    groups: Vec<u32>,
    /// Bits of `CapEff`.
    capabilities: u64,
}

impl User {
    /// Reads `/proc/self/status`. Without it, it is an ordinary user whose number nobody has.
    pub(crate) fn of(status: &str) -> Self {
        let values = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().split_whitespace()
        };
        let numbers = |name: &str| values(name).filter_map(|number| number.parse().ok());
        // The effective one is the second of four.
        let effective = |name: &str| numbers(name).nth(1);
        let mask = values("CapEff:").next();
        let mask = mask.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        Self {
            uid: effective("Uid:").unwrap_or(u32::MAX),
            groups: effective("Gid:")
                .into_iter()
                .chain(numbers("Groups:"))
                .collect(),
            capabilities: mask.unwrap_or(0),
        }
    }

    /// Whether the limit of locked memory does not count.
    pub(crate) fn may_lock_memory(&self) -> bool {
        self.has(CAP_IPC_LOCK)
    }

    /// Whether a file's mode lets this user read and write it.
    pub(crate) fn may_read_and_write(&self, mode: u32, owner: u32, group: u32) -> bool {
        let bits = if self.uid == owner {
            mode >> 6
        } else if self.groups.contains(&group) {
            mode >> 3
        } else {
            mode
        };
        self.has(CAP_DAC_OVERRIDE) || bits & 6 == 6
    }

    fn has(&self, capability: u32) -> bool {
        self.capabilities >> capability & 1 == 1
    }
}

// Numbers of capabilities, from Linux's include/uapi/linux/capability.h.
const CAP_DAC_OVERRIDE: u32 = 1;
const CAP_IPC_LOCK: u32 = 14;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_decides_for_an_ordinary_user() {
        let status = "Name:\tmultifd\nUid:\t1000\t1001\t1001\t1001\nGid:\t100\t101\t101\t101\n\
                      Groups:\t7 36 \nCapEff:\t0000000000000000\n";
        let user = User::of(status);
        assert!(user.may_read_and_write(0o600, 1001, 0));
        assert!(!user.may_read_and_write(0o400, 1001, 0));
        assert!(!user.may_read_and_write(0o600, 1000, 101));
        assert!(user.may_read_and_write(0o660, 0, 36));
        assert!(user.may_read_and_write(0o660, 0, 101));
        assert!(!user.may_read_and_write(0o660, 0, 37));
        assert!(user.may_read_and_write(0o666, 0, 37));
        // The owner's bits count for the owner, even if others have more.
        assert!(!user.may_read_and_write(0o066, 1001, 36));
        assert!(!user.may_lock_memory());
    }

    #[test]
    fn capabilities_override_the_mode() {
        let root = User::of("Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n");
        assert!(root.may_read_and_write(0, 5, 5) && root.may_lock_memory());
        // Root of a container that has dropped them.
        let root = User::of("Uid:\t0\t0\t0\t0\nCapEff:\t0000000000000000\n");
        assert!(!root.may_read_and_write(0o600, 5, 5) && !root.may_lock_memory());
        assert!(!User::of("").may_read_and_write(0o660, 0, 0));
    }
}
