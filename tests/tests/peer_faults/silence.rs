// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Sources that fall silent, or go.

use multifd_tests::by_hand::{PAGE, main_stream as stream, packet};

use super::row::{FIRST, MAIN, OTHER, Row, SECOND};

const CONNECTION: i32 = 4;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        // A relay waits for a source for as long as that takes.
        Row::new(
            "a silent connection",
            CONNECTION,
            "nobody connected to unix:",
        )
        .say(OTHER, b"")
        .not_relayed(),
        Row::new(
            "10 bytes of an initial packet",
            CONNECTION,
            "nobody connected to unix:",
        )
        .say(
            OTHER,
            packet::init(0).into_iter().take(10).collect::<Vec<_>>(),
        )
        .not_relayed(),
        Row::new(
            "a source without multifd",
            CONNECTION,
            "no channel is connected: is multifd on at the source?",
        )
        .relay(
            CONNECTION,
            "a main connection, but no multifd channel within 3 s",
        )
        .head()
        .say(MAIN, stream::ram_start_with(b"ram", PAGE as u64)),
        Row::new(
            "channels alone",
            CONNECTION,
            "channels, but no main connection within 3 s",
        )
        .channels(),
        Row::new("silence in the configuration", CONNECTION, "silent for 3 s")
            .channels()
            .say(
                MAIN,
                stream::head().into_iter().take(11).collect::<Vec<_>>(),
            ),
        Row::new(
            "silence in the list of blocks",
            CONNECTION,
            "silent for 3 s",
        )
        .head()
        .channels()
        .say(
            MAIN,
            stream::ram_start_with(b"ram", PAGE as u64)
                .into_iter()
                .take(20)
                .collect::<Vec<_>>(),
        ),
        Row::new(
            "silence in a packet",
            CONNECTION,
            "silent for 3 s in the middle of a packet",
        )
        .begun()
        .say(
            FIRST,
            packet::sync().into_iter().take(100).collect::<Vec<_>>(),
        ),
        Row::new(
            "a channel that never comes to the barrier",
            CONNECTION,
            "no SYNC from channel 1 within 3 s",
        )
        .begun()
        .say(MAIN, stream::ram_part(&stream::barrier()))
        .say(FIRST, packet::sync()),
        Row::new(
            "a channel that has gone at the barrier",
            CONNECTION,
            "the source closed the connection before its next SYNC",
        )
        .begun()
        .close(SECOND)
        .say(MAIN, stream::ram_part(&stream::barrier())),
        Row::new(
            "a source that has gone at the barrier",
            CONNECTION,
            "the source closed the main connection before SYNC came",
        )
        .begun()
        .say(MAIN, stream::ram_part(&stream::barrier()))
        .close(MAIN),
        Row::new(
            "a source that has gone between two sections",
            CONNECTION,
            "the stream ended",
        )
        .begun()
        .close(MAIN),
        Row::new("device state without an end", CONNECTION, "silent for 3 s")
            .relay(
                CONNECTION,
                "behind the end of memory the source has sent nothing",
            )
            .begun()
            .sync()
            .say(MAIN, stream::ram_end())
            .say(MAIN, b"\x04\0\0\0\x02"),
        Row::new(
            "no description of the devices",
            CONNECTION,
            "is suppress-vmdesc=on there?",
        )
        .relay(
            CONNECTION,
            "behind the end of memory the source has sent nothing",
        )
        .begun()
        .sync()
        .say(MAIN, stream::ram_end())
        .say(MAIN, b"\0"),
    ]
}
