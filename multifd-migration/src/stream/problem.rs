// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What can be wrong with the bytes of the main connection.

use multifd_core::PageSize;
use multifd_core::wire::BlockName;

use super::ids::{CommandId, MessageId};

/// What is wrong: what was got, what was wanted, and what to do about it where that is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A number that is not the one that must stand here.
    #[error("{what} is {got:#x}, wanted {want}")]
    Value {
        /// The number's meaning.
        what: &'static str,
        /// The number.
        got: u64,
        /// What would have been right.
        want: String,
    },
    /// A length or a count over this side's limit.
    #[error("{what} is {got}, wanted at most {max}")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        got: u64,
        /// The most that this side takes.
        max: u64,
    },
    /// A name that is none: empty, too long, not UTF-8, or with a NUL in it.
    #[error("{what} {got:?} is not a name: wanted UTF-8, not empty, without NUL")]
    Name {
        /// What is named.
        what: &'static str,
        /// The name's beginning, with what is not UTF-8 replaced.
        got: String,
    },
    /// A name that is well formed, but means nothing here.
    #[error("unknown {what} {got:?}")]
    Unknown {
        /// What is named.
        what: &'static str,
        /// The name.
        got: String,
    },
    /// The source uses something that this side does not have.
    #[error("{what} is not supported: {advice}")]
    Unsupported {
        /// What the source uses.
        what: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// The guest's pages have another size than this side is set to, or one that no packet can have.
    #[error("a guest with pages of 2^{got} bytes, wanted {}", page_sizes(.want))]
    PageBits {
        /// The binary logarithm of their size, as the source names it.
        got: u32,
        /// What this side is set to; otherwise it takes any that there is.
        want: Option<PageSize>,
    },
    /// A command that belongs to something this side does not have, or that nobody knows.
    #[error("command {got} is not supported: {}", got.advice())]
    Command {
        /// The command.
        got: CommandId,
    },
    /// A message that the source did not ask for, or that nobody knows.
    #[error("return path message {got} is not supported")]
    Message {
        /// The message's type.
        got: MessageId,
    },
    /// Something that is right by itself, but not here.
    #[error("{what} {when}")]
    Order {
        /// What came.
        what: &'static str,
        /// When it came.
        when: &'static str,
    },
    /// The list of RAM blocks names one twice.
    #[error("RAM block {name:?} is listed twice")]
    DuplicateBlock {
        /// The name.
        name: BlockName,
    },
    /// The lengths of the RAM blocks do not add up to the total that was announced.
    #[error(
        "RAM block {name:?} has {got:#x} bytes, but only {left:#x} bytes of the total are left"
    )]
    BlockTotal {
        /// The block with which the sum passes the total.
        name: BlockName,
        /// Its length in bytes.
        got: u64,
        /// What is left of the total in bytes.
        left: u64,
    },
    /// The list of RAM blocks ends before their lengths have reached the total that was announced.
    #[error("the list of RAM blocks ends {left:#x} bytes before the total of memory")]
    BlocksMissing {
        /// What is left of the total in bytes.
        left: u64,
    },
    /// A word of a RAM section with flags that it may not have.
    #[error("RAM word {got:#x}: {why}")]
    RamWord {
        /// The word, address and flags.
        got: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A page that is not wholly inside of its block.
    #[error("page at {got:#x} is outside RAM block {name:?} of {len:#x} bytes")]
    OutOfBlock {
        /// The block.
        name: BlockName,
        /// The page's offset in bytes.
        got: u64,
        /// The block's length in bytes.
        len: u64,
    },
    /// The device state's end was not found.
    #[error("the device state does not end as it should: {why}")]
    TailEnd {
        /// What was seen instead.
        why: String,
    },
}

impl Problem {
    pub(super) fn name(what: &'static str, bytes: &[u8]) -> Self {
        let shown = bytes.get(..MAX_SHOWN_LEN).unwrap_or(bytes);
        let got = String::from_utf8_lossy(shown).into_owned();
        Self::Name { what, got }
    }

    pub(super) fn value(what: &'static str, got: impl Into<u64>, want: impl ToString) -> Self {
        Self::Value {
            what,
            got: got.into(),
            want: want.to_string(),
        }
    }
}

fn page_sizes(want: &Option<PageSize>) -> String {
    match want {
        Some(want) => format!("{want} as this side is set to"),
        None => "4 to 64 KiB".to_owned(),
    }
}

/// Most bytes of a name that a message shows when it is none.
const MAX_SHOWN_LEN: usize = 64;
