// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Faults of a destination, against `send`.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use multifd_tests::command::Multifd;

use super::play::{LIMIT, check, peak};

/// A fault of a destination that takes everything that comes.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// What it says on the main connection, at once.
    says: Vec<u8>,
    code: i32,
    text: &'static str,
}

const PEER: i32 = 3;
const CONNECTION: i32 = 4;
const IN_DOUBT: i32 = 7;

fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).unwrap_or(u16::MAX);
    [&kind.to_be_bytes()[..], &len.to_be_bytes(), body].concat()
}

pub(crate) fn rows() -> Vec<Row> {
    let one = |name, text, bytes: Vec<u8>| Row {
        name,
        says: bytes,
        code: PEER,
        text,
    };
    let pong = message(2, &2_u32.to_be_bytes());
    let in_doubt = |name, bytes: Vec<u8>| Row {
        name,
        says: [pong.clone(), bytes].concat(),
        code: IN_DOUBT,
        text: "has everything but has not confirmed it within 3 s",
    };
    vec![
        one(
            "a confirmation before everything was sent",
            "the destination confirmed before everything was sent",
            message(1, &[0; 4]),
        ),
        one(
            "a refusal",
            "could not take the guest (SHUT 1)",
            message(1, &1_u32.to_be_bytes()),
        ),
        one(
            "a SHUT of nothing",
            "a message's length is 0x0, wanted 4 for SHUT",
            message(1, b""),
        ),
        one(
            "a SHUT of 65535 bytes",
            "a message's length is 0xffff, wanted 4 for SHUT",
            message(1, &[0; 65_535]),
        ),
        one(
            "message 0",
            "return path message 0 is not supported",
            message(0, b""),
        ),
        one(
            "message 99",
            "return path message 99 is not supported",
            message(99, b"1234"),
        ),
        one(
            "a request of pages",
            "return path message REQ_PAGES is not supported",
            message(4, &[0; 12]),
        ),
        one(
            "a request of pages of a block",
            "return path message REQ_PAGES_ID is not supported",
            message(3, &[0; 13]),
        ),
        one(
            "a bitmap",
            "return path message RECV_BITMAP is not supported",
            message(5, b"\x03ram"),
        ),
        one(
            "a recovery",
            "return path message RESUME_ACK is not supported",
            message(6, &[0; 4]),
        ),
        one(
            "no messages",
            "return path message 18516 is not supported",
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        ),
        Row {
            name: "silence",
            says: Vec::new(),
            code: CONNECTION,
            text: "the destination has not answered a single PING within 3 s",
        },
        in_doubt("1000 acknowledgements", message(7, b"").repeat(1000)),
        in_doubt(
            "PONGs that nobody has asked for",
            message(2, b"what").repeat(1000),
        ),
        in_doubt("a word of the handover", message(2, b"mfGo")),
        in_doubt("8 MiB of PONGs", message(2, b"what").repeat(1 << 20)),
    ]
}

/// Sends two pages to such a destination.
pub(crate) fn run(multifd: &Multifd, row: &Row) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (ram, socket) = (folder.path().join("ram"), folder.path().join("socket"));
    std::fs::write(&ram, [0xaa; 2 * 4096])?;
    let listener = UnixListener::bind(&socket)?;
    let says = row.says.clone();
    // Nothing is said before the memory of the process has been seen: it may end right behind it.
    let unseen = Arc::new(Mutex::new(()));
    let is_seen = unseen.lock();
    let gate = Arc::clone(&unseen);
    // Ends with the test's process.
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let (says, gate) = (says.clone(), Arc::clone(&gate));
            thread::spawn(move || {
                drop(gate.lock());
                serve(client, says);
            });
        }
    });
    let (to, ram) = (
        format!("unix:{}", socket.display()),
        ram.display().to_string(),
    );
    let args = [
        "send",
        "--json",
        "--quiet",
        "--ram",
        &ram,
        "--to",
        &to,
        "--time-limit",
        LIMIT,
    ];
    let mut running = multifd.start(args)?;
    let mut memory = peak(running.id())?;
    drop(is_seen);
    while running.is_running()? {
        memory = peak(running.id()).unwrap_or(0).max(memory);
        thread::sleep(Duration::from_millis(20));
    }
    check(&running.finish()?, (row.code, row.text), (memory, 32))
}

/// Takes what comes; on the main connection says what is to be said.
fn serve(mut client: UnixStream, says: Vec<u8>) {
    let mut magic = [0; 4];
    if client.read_exact(&mut magic).is_err() {
        return;
    }
    if &magic == b"QEVM"
        && let Ok(mut back) = client.try_clone()
    {
        // The source may close the connection meanwhile.
        thread::spawn(move || drop(back.write_all(&says)));
    }
    let _ = std::io::copy(&mut client, &mut std::io::sink());
}
