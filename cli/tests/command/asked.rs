// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A relay that is asked what it does, and told to do something else.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use multifd_tests::command::{Finished, Running};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Folder, guest, recv, relay, run, start};

const LOCAL: i32 = 1;
const USAGE: i32 = 2;
const PEER: i32 = 3;
const CONNECTION: i32 = 4;
/// More than a relay holds.
const PAGES: usize = 4000;
const UUID: &str = "11111111-2222-3333-4444-555555555555";

/// A relay with a control socket in the folder, and a migration that does not come to its end by itself.
struct Held {
    folder: Folder,
    control: String,
    sending: Running,
    relaying: Running,
    receiving: Running,
}

impl Held {
    fn start() -> Result<Self> {
        let folder = Folder::new()?;
        let source = folder.write("source", &guest(PAGES))?;
        let control = folder.text("control");
        let socket = format!("unix:{}", folder.text("socket"));
        let (receiving, to) = recv(&socket, &["--ram", &folder.text("destination")])?;
        let relay_args = ["--keep-listening", "--control", &control];
        let limit = ["--out", "max-bandwidth=1"];
        let args = [&relay_args[..], &limit].concat();
        let (relaying, address) = relay("tcp:127.0.0.1:0", &to, &args)?;
        let send = [
            "send", "--json", "--to", &address, "--ram", &source, "--uuid", UUID,
        ];
        let sending = start(&send)?;
        let held = Self {
            folder,
            control,
            sending,
            relaying,
            receiving,
        };
        held.wait(|status| {
            let of = |path: &str| status.pointer(&format!("/migrations/0/{path}"));
            let has_packets = |path: &str| {
                let channels = of(path).and_then(Value::as_array);
                let packets = |channel: &Value| channel.get("packets").and_then(Value::as_u64);
                let mut channels = channels.into_iter().flatten();
                channels.all(|channel| packets(channel) > Some(0))
            };
            of("phase") == Some(&"memory".into())
                && of("waits-for") == Some(&"bandwidth".into())
                && has_packets("in/channels")
                && has_packets("out/channels")
        })?;
        Ok(held)
    }

    fn ask(&self, args: &[&str]) -> Result<Finished> {
        run(&[args, &["--control", &self.control]].concat())
    }

    fn status(&self) -> Result<Value> {
        self.ask(&["status", "--json"])?.json(0)
    }

    fn wait(&self, is_wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        wait(&self.control, is_wanted)
    }
}

/// Asks until the answer is as wanted.
fn wait(control: &str, is_wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let start = Instant::now();
    loop {
        let status = run(&["status", "--json", "--control", control])?.json(0)?;
        if is_wanted(&status) {
            return Ok(status);
        }
        ensure!(start.elapsed() < PATIENCE, "{status:#}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A conversation by hand, behind the greeting.
fn connect(control: &str) -> Result<BufReader<UnixStream>> {
    let stream = UnixStream::connect(control)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut stream = BufReader::new(stream);
    let greeting = answer(&mut stream)?;
    let protocol = greeting.pointer("/multifd-relay/protocol");
    ensure!(protocol == Some(&1.into()), "{greeting}");
    Ok(stream)
}

fn answer(stream: &mut BufReader<UnixStream>) -> Result<Value> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    serde_json::from_str(&line).with_context(|| format!("{line:?}"))
}

#[test]
fn a_migration_is_shown_and_let_go() -> Result<()> {
    let held = Held::start()?;
    let status = held.status()?;
    let relay = &status["relay"];
    assert_eq!(
        (&relay["status"], &relay["under-way"]),
        (&"listening".into(), &1.into())
    );
    let migration = &status["migrations"][0];
    assert_eq!(
        (&migration["migration"], &migration["uuid"]),
        (&1.into(), &UUID.into())
    );
    assert_eq!(migration["max-bandwidth"], 1);
    let ram = &migration["ram"];
    let (total, passed) = (ram["total"].as_u64(), ram["guest-bytes"].as_u64());
    assert_eq!(total, Some(PAGES as u64 * 4096));
    let left = total.zip(passed).map(|(total, passed)| total - passed);
    assert_eq!(ram["remaining"].as_u64(), left);
    for side in ["in", "out"] {
        let channels = migration[side]["channels"].as_array().context("channels")?;
        assert_eq!(channels.len(), 2);
    }
    let text = held.ask(&["status"])?.stdout;
    for words in [
        "1 of at most 16 migrations under way",
        "migration 1, guest 11111111-2222-3333-4444-555555555555: memory, ",
        " % of a first pass over 15.62 MiB",
        "; waits for its bandwidth",
        "at most 1 B/s",
        "from 127.0.0.1: ",
        "channel 1: ",
    ] {
        ensure!(text.contains(words), "{words}: {text}");
    }

    held.ask(&["tune", "9", "max-bandwidth=1M"])?.failed(
        &[USAGE],
        &[
            "migration 9 is not under way",
            "under way: migration 1, guest 1111",
        ],
    )?;
    held.ask(&["tune", "1", "multifd-channels=2"])?
        .failed(&[USAGE], &["cannot be changed while a migration runs"])?;
    held.ask(&["tune", "1", "max-bandwidth=fast"])?
        .failed(&[USAGE], &["max-bandwidth"])?;
    let tuned = held.ask(&["tune", UUID, "max-bandwidth=100M"])?;
    ensure!(
        tuned.code == Some(0) && tuned.stdout.contains("is 100.00 MiB/s"),
        "{tuned:#?}"
    );

    let status = held.wait(|status| status["history"][0]["migration"] == 1)?;
    let ended = &status["history"][0];
    assert_eq!(ended["status"], "completed");
    ensure!(
        ended["end"].is_string() && ended["in"].get("channels").is_none(),
        "{ended:#}"
    );
    assert_eq!(
        (&status["relay"]["completed"], &status["migrations"]),
        (&1.into(), &json!([]))
    );
    for command in [&["cancel", "1"][..], &["tune", UUID, "max-bandwidth=0"]] {
        held.ask(command)?
            .failed(&[PEER], &["is over: completed"])?;
    }
    let text = held.ask(&["status"])?.stdout;
    ensure!(
        text.contains("completed in ") && text.contains("1 have arrived"),
        "{text}"
    );
    held.sending.finish()?.json(0)?;
    held.receiving.finish()?.json(0)?;
    held.folder.same("source", "destination")
}

#[test]
fn a_migration_is_cancelled() -> Result<()> {
    for which in ["1", UUID] {
        let mut held = Held::start()?;
        let cancel = ["cancel", which, "--reason", "the link\nis needed"];
        let told = held.ask(&cancel)?;
        let words = "migration 1, guest 11111111-2222-3333-4444-555555555555: cancelled";
        ensure!(
            told.code == Some(0) && told.stdout.contains(words),
            "{told:#?}"
        );
        let user = rustix::process::geteuid().as_raw();
        held.relaying
            .wait_line(&format!("cancelled by user {user}: the link\\nis needed"))?;
        // It is asked for first, so the record is there, too.
        let status = held.wait(|status| status["relay"]["failed"] == 1)?;
        let ended = &status["history"][0];
        assert_eq!(
            (&ended["status"], &ended["migration"]),
            (&"cancelled".into(), &1.into())
        );
        let sent = held.sending.finish()?;
        sent.failed(&[PEER, CONNECTION], &["multifd: source", "the guest"])?;
        let sent: Value = serde_json::from_str(&sent.stdout)?;
        assert_eq!(sent["guest"], "here", "{sent:#}");
        held.receiving.finish()?.failed(&[PEER, CONNECTION], &[])?;
        ensure!(held.relaying.is_running()?);
    }
    Ok(())
}

#[test]
fn watching_ends_with_the_relay() -> Result<()> {
    let folder = Folder::new()?;
    let control = folder.text("control");
    let args = ["--keep-listening", "--control", &control];
    let (relaying, address) = relay("tcp:127.0.0.1:0", "unix:/nowhere", &args)?;
    let watch = ["status", "--watch", "--control", &control];
    let mut machine = start(&[&watch[..], &["--json"]].concat())?;
    let status: Value = serde_json::from_str(&machine.wait_result()?)?;
    assert_eq!(status["relay"]["listening"], address);
    let mut human = start(&watch)?;
    human.wait_result()?;
    relaying.signal(Signal::TERM)?;
    assert_eq!(relaying.finish()?.code, Some(0));
    let machine = machine.finish()?;
    ensure!(machine.code == Some(0), "{machine:#?}");
    let human = human.finish()?;
    ensure!(
        human.code == Some(0) && human.stdout.ends_with("the relay has ended\n"),
        "{human:#?}"
    );
    // Nothing is left of it.
    assert_eq!(folder.names()?, Vec::<String>::new());
    let nobody = run(&["status", "--control", &control])?;
    nobody.failed(
        &[CONNECTION],
        &["no relay listens on", "hint: start one with: multifd relay"],
    )
}

#[test]
fn who_waits_is_shown() -> Result<()> {
    let folder = Folder::new()?;
    let control = folder.text("control");
    let args = ["--keep-listening", "--control", &control];
    let (_relaying, address) = relay("tcp:127.0.0.1:0", "unix:/nowhere", &args)?;
    let mut silent = TcpStream::connect(address.trim_start_matches("tcp:"))?;
    let status = wait(&control, |status| status["waiting"][0]["said"] == "nothing")?;
    assert_eq!(status["waiting"][0]["peer"], "127.0.0.1");
    let text = run(&["status", "--control", &control])?.stdout;
    ensure!(
        text.contains("waiting: 127.0.0.1 has said nothing, for "),
        "{text}"
    );
    silent.write_all(b"GET / HTTP/1.1\r\n")?;
    wait(&control, |status| status["waiting"] == json!([]))?;
    Ok(())
}

#[test]
fn only_root_and_its_user_may_ask() -> Result<()> {
    let folder = Folder::new()?;
    let control = folder.text("control");
    let args = ["--keep-listening", "--control", &control];
    let (mut relaying, _) = relay("tcp:127.0.0.1:0", "unix:/nowhere", &args)?;
    let mode = || Ok::<_, anyhow::Error>(std::fs::metadata(&control)?.permissions().mode() & 0o777);
    assert_eq!(mode()?, 0o600);
    if !rustix::process::geteuid().is_root() {
        writeln!(std::io::stderr(), "skipped: only root can be somebody else")?;
        return Ok(());
    }
    // Where everybody may run it.
    let command = folder.path("multifd");
    std::fs::copy(env!("CARGO_BIN_EXE_multifd"), &command)?;
    std::fs::set_permissions(folder.root(), PermissionsExt::from_mode(0o755))?;
    let ask = || {
        let mut command = Command::new(&command);
        Running::start(command.args(["status", "--control", &control]).uid(NOBODY))?.finish()
    };
    ask()?.failed(
        &[LOCAL],
        &["this user may not ask the relay", "hint: ask as root"],
    )?;
    std::fs::set_permissions(&control, PermissionsExt::from_mode(0o666))?;
    let words = "user 65534 may not ask this relay";
    ask()?.failed(&[LOCAL], &[words])?;
    relaying.wait_line(words)?;
    Ok(())
}

#[test]
fn clients_that_misbehave_harm_nobody() -> Result<()> {
    let held = Held::start()?;
    // One that says what nobody understands, and goes on.
    let mut clumsy = connect(&held.control)?;
    for (line, class) in [
        ("\u{1b}[2J", "BadRequest"),
        (r#"{"execute": "quit"}"#, "CommandNotFound"),
        (r#"{"execute": "cancel"}"#, "BadRequest"),
        (
            r#"{"execute": "cancel", "arguments": {"migration": -1}}"#,
            "BadRequest",
        ),
        (
            r#"{"execute": "cancel", "arguments": {"migration": 2}}"#,
            "MigrationNotFound",
        ),
        (
            r#"{"execute": "query-relay", "arguments": {"all": true}}"#,
            "BadRequest",
        ),
        (
            r#"{"execute": "tune", "arguments": {"migration": 1}}"#,
            "BadRequest",
        ),
        (
            r#"{"execute": "tune", "arguments": {"migration": 1, "max-bandwidth": 1.5}}"#,
            "BadRequest",
        ),
    ] {
        writeln!(clumsy.get_mut(), "{line}")?;
        let answer = answer(&mut clumsy)?;
        assert_eq!(answer["error"]["class"], class, "{line}: {answer}");
    }
    writeln!(
        clumsy.get_mut(),
        r#"{{"execute": "query-relay", "id": "x"}}"#
    )?;
    assert_eq!(answer(&mut clumsy)?["id"], "x");

    // A line without end: it is told so, if it listens, and closed.
    let mut endless = connect(&held.control)?;
    endless.get_mut().set_write_timeout(Some(PATIENCE))?;
    let piece = [b'x'; 1 << 16];
    while endless.get_mut().write_all(&piece).is_ok() {}

    // One that asks and asks, and reads nothing.
    let deaf = UnixStream::connect(&held.control)?;
    deaf.set_nonblocking(true)?;
    let request = br#"{"execute": "query-migrations"}
"#;
    while (&deaf).write(request).is_ok() {}

    // Many that say nothing, and still somebody else is answered.
    let mut crowd = Vec::new();
    for _ in 0..300 {
        crowd.push(UnixStream::connect(&held.control)?);
        if crowd.len() % 100 == 0 {
            held.status()?;
        }
    }
    // The first of them had to go.
    let mut first = crowd.swap_remove(0);
    first.set_read_timeout(Some(PATIENCE))?;
    first.read_to_end(&mut Vec::new())?;
    held.ask(&["tune", "1", "max-bandwidth=0"])?;
    held.sending.finish()?.json(0)?;
    held.receiving.finish()?.json(0)?;
    held.folder.same("source", "destination")
}

#[test]
fn a_socket_belongs_to_one_relay() -> Result<()> {
    let folder = Folder::new()?;
    let control = folder.text("control");
    let args = ["--keep-listening", "--control", &control];
    let (mut relaying, _) = relay("tcp:127.0.0.1:0", "unix:/nowhere", &args)?;
    let other = [
        "relay",
        "--listen",
        "tcp:127.0.0.1:0",
        "--to",
        "unix:/nowhere",
        "--control",
        &control,
    ];
    run(&other)?.failed(
        &[CONNECTION],
        &["cannot listen on the control socket", "another relay"],
    )?;
    let pid = relaying.id();
    let status = run(&["status", "--json", "--control", &control])?.json(0)?;
    assert_eq!(status["relay"]["pid"], pid);
    // What a relay leaves behind that is killed is in nobody's way; and one migration can be asked about, too.
    relaying.kill()?;
    ensure!(folder.exists("control"));
    let (second, _) = relay("tcp:127.0.0.1:0", "unix:/nowhere", &args[1..])?;
    let status = run(&["status", "--json", "--control", &control])?.json(0)?;
    assert_eq!(
        (&status["relay"]["pid"], &status["relay"]["max-migrations"]),
        (&second.id().into(), &1.into())
    );
    Ok(())
}

#[test]
fn where_it_is_found_unless_told_otherwise() -> Result<()> {
    let folder = Folder::new()?;
    let command = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_multifd"));
        command
            .args(args)
            .env("XDG_RUNTIME_DIR", folder.root())
            .env_remove("RUNTIME_DIRECTORY");
        command
    };
    let relay = [
        "relay",
        "--keep-listening",
        "--json",
        "--listen",
        "tcp:127.0.0.1:0",
        "--to",
        "unix:/nowhere",
    ];
    let mut silent = Running::start(&mut command(&[&relay[..], &["--no-control"]].concat()))?;
    silent.wait_address()?;
    assert_eq!(folder.names()?, Vec::<String>::new());
    let mut first = Running::start(&mut command(&relay))?;
    let address = first.wait_address()?;
    assert_eq!(folder.names()?, ["multifd-relay.sock"]);
    // Another one is a relay like any other, which cannot be asked.
    let mut second = Running::start(&mut command(&relay))?;
    second.wait_line("cannot be asked: the control socket")?;
    second.wait_address()?;
    let status = Running::start(&mut command(&["status", "--json"]))?
        .finish()?
        .json(0)?;
    assert_eq!(status["relay"]["listening"], address);
    Ok(())
}

const NOBODY: u32 = 65534;
/// More than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
