// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Faults on the main connection.

use multifd_tests::by_hand::{PAGE, main_stream as stream};

use super::row::{FIRST, MAIN, Row};

const LOCAL: i32 = 1;
const PEER: i32 = 3;
const CONNECTION: i32 = 4;

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = commands();
    rows.extend(lists_of_blocks());
    rows.extend(lengths());
    rows.extend(sections());
    rows.extend(words());
    rows
}

/// Commands and capabilities for what is not supported.
fn commands() -> Vec<Row> {
    let command = |name, says, id, data: &[u8]| {
        Row::new(name, PEER, says)
            .head()
            .channels()
            .say(MAIN, stream::command(id, data))
    };
    let mapped = {
        // A configuration with the sub-section of capabilities: one of them.
        let mut bytes = stream::head();
        bytes.extend(b"\x05\x1aconfiguration/capabilities\0\0\0\x01\0\0\0\x01\x0amapped-ram");
        bytes.extend(stream::open_return_path());
        bytes
    };
    vec![
        command(
            "the switch to postcopy",
            "command POSTCOPY_LISTEN is not supported",
            4,
            b"",
        ),
        command(
            "half an announcement of postcopy",
            "a command's length is 0x8, wanted 0 or 16 for POSTCOPY_ADVISE",
            3,
            &[0; 8],
        ),
        command(
            "a package of 4 GiB",
            "command PACKAGED is not supported",
            7,
            &u32::MAX.to_be_bytes(),
        ),
        command("an unknown command", "is not supported", 0x7777, b"data"),
        command("a PING without a value", "a command's length", 2, b""),
        command(
            "a second return path",
            "OPEN_RETURN_PATH comes twice",
            1,
            b"",
        ),
        Row::new(
            "memory mapped into a file",
            PEER,
            "the capability mapped-ram is not supported",
        )
        .channels()
        .say(MAIN, mapped),
    ]
}

/// RAM's START section: a sum, and blocks.
fn lists_of_blocks() -> Vec<Row> {
    let page = PAGE as u64;
    let start = |name, says, total, blocks: &[u8]| {
        let start = stream::ram_start(total, blocks);
        Row::new(name, PEER, says)
            .head()
            .channels()
            .say(MAIN, start)
            .sync()
    };
    let block = stream::block;
    let many: Vec<u8> = (0..20_000)
        .flat_map(|number: u32| block(number.to_string().as_bytes(), page))
        .collect();
    vec![
        start(
            "a sum that is less than the blocks",
            "but only 0x1000 bytes of the total are left",
            page,
            &block(b"ram", 2 * page),
        ),
        start(
            "a sum that is more than the blocks",
            "the list of RAM blocks ends 0x1000 bytes before the total of memory",
            2 * page,
            &block(b"ram", page),
        ),
        start(
            "20000 blocks",
            "the number of RAM blocks is 16385, wanted at most 16384",
            20_000 * page,
            &many,
        ),
        start(
            "a block twice",
            "twice",
            2 * page,
            &[block(b"ram", page), block(b"ram", page)].concat(),
        ),
        start(
            "a block of nothing",
            "behind the list of RAM blocks, whose lengths have reached the total",
            page,
            &[block(b"ram", page), block(b"rom", 0)].concat(),
        ),
        start(
            "a block between two pages",
            "wanted a multiple of the page size 4096",
            page,
            &[block(b"ram", page - 1), block(b"rom", 1)].concat(),
        ),
    ]
}

/// Blocks that nobody has room for, and a name that is a path.
fn lengths() -> Vec<Row> {
    let sized = |name, len| {
        Row::new(name, LOCAL, "bytes do not fit: ")
            .relay(PEER, "the destination could not take the guest")
            .head()
            .channels()
            .say(MAIN, stream::ram_start_with(b"ram", len))
            .sync()
    };
    let path = Row::new(
        "a block whose name is a path",
        LOCAL,
        "no file for the source's block ../../x",
    )
    .save(0, "listening on")
    .relay(PEER, "the destination could not take the guest")
    .head()
    .channels()
    .say(MAIN, stream::ram_start_with(b"../../x", PAGE as u64))
    .sync()
    .ended();
    vec![
        sized("a block of 8 EiB", 1 << 63),
        sized("a block of all addresses", 0_u64.wrapping_sub(PAGE as u64)),
        sized("a block of 1 PiB", 1 << 50),
        path,
    ]
}

/// Sections, and what stands around them.
fn sections() -> Vec<Row> {
    let one = |name, says, bytes: Vec<u8>| Row::new(name, PEER, says).begun().say(MAIN, bytes);
    let start = stream::ram_start_with(b"ram", PAGE as u64);
    vec![
        one(
            "an end with the number 0",
            "a section's id is 0x0, wanted 0x1",
            stream::section(stream::END, 0, &stream::barrier()),
        ),
        one(
            "an end with another number",
            "a section's id is 0x7, wanted 0x1",
            stream::section(stream::END, 7, &stream::barrier()),
        ),
        one("a second start", "the start of RAM comes twice", start),
        one("an unknown type of section", "a section's type", vec![0x55]),
        one(
            "the end of the stream before that of memory",
            "comes before the end of RAM",
            vec![0],
        ),
        Row::new(
            "a device before the end of memory, and silence",
            CONNECTION,
            "silent for 3 s",
        )
        .begun()
        .say(MAIN, early_timer()),
        // Its state is no memory: it is kept where there is room for it.
        Row::new(
            "a device before the end of memory",
            0,
            "timer 0 bytes: dropped, --save DIR keeps it",
        )
        .save(0, "timer 0 bytes: in ")
        .relay(0, "listening on")
        .begun()
        .say(MAIN, early_timer())
        .ended(),
        Row::new(
            "a wrong footer behind a barrier",
            PEER,
            "a footer's section id is 0x9, wanted 0x1",
        )
        .begun()
        .say(
            MAIN,
            [
                &[2, 0, 0, 0, 1][..],
                &stream::barrier(),
                &[0x7e, 0, 0, 0, 9],
            ]
            .concat(),
        ),
        Row::new(
            "no footer behind a barrier",
            PEER,
            "wanted a section's footer (0x7e)",
        )
        .begun()
        .say(
            MAIN,
            [&[2, 0, 0, 0, 1][..], &stream::barrier(), &[2, 0, 0, 0, 1]].concat(),
        ),
        Row::new(
            "an end without a barrier",
            PEER,
            "END section has no barrier",
        )
        .begun()
        .say(
            MAIN,
            stream::section(stream::END, 1, &stream::word(stream::EOS)),
        )
        .say(MAIN, stream::tail())
        .relay(PEER, "the destination could not take the guest"),
        Row::new(
            "an end in the list of blocks",
            CONNECTION,
            "the stream ended in the total of memory",
        )
        .head()
        .channels()
        .say(
            MAIN,
            stream::ram_start_with(b"ram", PAGE as u64)
                .into_iter()
                .take(18)
                .collect::<Vec<_>>(),
        )
        .close(MAIN),
        Row::new(
            "an end in the configuration",
            CONNECTION,
            "the stream ended in",
        )
        .channels()
        .say(
            MAIN,
            stream::head().into_iter().take(11).collect::<Vec<_>>(),
        )
        .close(MAIN),
    ]
}

/// A section of a device that no known one sends so early.
fn early_timer() -> Vec<u8> {
    stream::section(stream::FULL, 2, &stream::device(b"timer", 2))
}

/// Words of RAM.
fn words() -> Vec<Row> {
    let one = |name, says, body: Vec<u8>| {
        Row::new(name, PEER, says)
            .begun()
            .say(MAIN, [&[2, 0, 0, 0, 1][..], &body].concat())
    };
    let zero = |word: u64, behind: &[u8]| [&stream::word(word)[..], behind].concat();
    let page = PAGE as u64;
    vec![
        one(
            "a page on the main connection",
            "a page on the main channel",
            zero(stream::PAGE, b"\x03ram"),
        ),
        one("a word of RDMA", "a word of RDMA", stream::word(0x80)),
        one(
            "a second list of blocks",
            "a second list of RAM blocks",
            stream::word(stream::MEM_SIZE | page),
        ),
        one(
            "a zero page behind the block",
            "is outside RAM block \"ram\"",
            zero((1 << 40) | stream::ZERO, b"\x03ram\0"),
        ),
        one(
            "a zero page of an unknown block",
            "unknown RAM block",
            zero(stream::ZERO, b"\x04none\0"),
        ),
        one(
            "a zero page of no block",
            "a page of the same block as before comes first",
            zero(stream::ZERO | stream::CONTINUE, b"\0"),
        ),
        one(
            "a zero page that is not zero",
            "the byte that fills a page is 0x1",
            zero(stream::ZERO, b"\x03ram\x01"),
        ),
        Row::new(
            "a channel's fault before a barrier",
            PEER,
            "magic 0x55555555",
        )
        .begun()
        .say(FIRST, vec![0x55; 1344])
        .say(MAIN, stream::ram_part(&stream::barrier())),
    ]
}
