// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What can be said on the command line, and what cannot.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::harness::{Folder, METHODS, guest, recv, run, send};

#[test]
fn params_lists_what_can_be_set() -> Result<()> {
    let list = run(&["params", "--json"])?.json(0)?;
    let list = list.as_array().context("no array")?;
    assert_eq!(list.len(), migration_params::known().count());
    let text = run(&["params"])?.stdout;
    for (known, object) in migration_params::known().zip(list) {
        let name = known.name;
        assert_eq!(object["name"], name);
        assert_eq!(object["default-of-qemu"], known.default);
        let default = object["default"].as_str().context(name)?;
        let differs = ["multifd", "return-path", "max-bandwidth"].contains(&name);
        assert_eq!(default != known.default, differs, "{name}");
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("  {name}=")));
        let line = line.context(name)?;
        assert!(line.starts_with(&format!("  {name}={default}")), "{line}");
        assert_eq!(line.contains("(QEMU: "), differs, "{line}");
        assert!(text.contains(known.description), "{name}");
    }
    for words in [
        "  max-bandwidth=0 bytes/second (QEMU: 134217728 bytes/second), size,",
        "      Here: used by send, relay --in, relay --out, tune.",
        "      Here: no effect.",
        "      Here: other values are refused (x-ignore-shared=on is not supported: ",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    Ok(())
}

#[test]
fn params_shows_one() -> Result<()> {
    let one = run(&["params", "multifd-channels"])?;
    one.ended(&[0], &[])?;
    let want = "\
multifd-channels: Number of multifd channels; the same on both sides.
  type       parameter (u8)
  values     a value between 1 and 255
  default    2
  in QEMU    the same
  effect     used by send, recv, relay --in, relay --out
";
    assert_eq!(one.stdout, want);
    let object = run(&["params", "downtime-limit", "--json"])?.json(0)?;
    assert_eq!(object["effect"], "used");
    assert_eq!(object["used-by"], serde_json::json!(["demo"]));
    let object = run(&["params", "mapped-ram", "--json"])?.json(0)?;
    assert_eq!(object["effect"], "refused");
    let why = object["refused-because"].as_str().context("no reason")?;
    assert!(why.starts_with("mapped-ram=on is not supported"), "{why}");
    run(&["params", "multifd-chanels"])?.failed(&[2], &["did you mean 'multifd-channels'?"])
}

#[test]
fn wrong_arguments_are_a_usage_error() -> Result<()> {
    let folder = Folder::new()?;
    let ram = folder.write("source", &guest(1))?;
    let send = ["send", "--to", "unix:/nowhere", "--ram", &ram];
    for (more, words) in [
        (
            ["--set", "multifd-chanels=2"],
            "did you mean 'multifd-channels'?",
        ),
        (["--set", "multifd-zlib-level=10"], "between 0 and 9"),
        (["--set", "multifd=off"], "multifd=off is not supported"),
        (
            ["--set", "zero-copy-send=on"],
            "zero-copy-send=on is not supported",
        ),
        (["--uuid", "1234"], "wanted a UUID"),
        (["--ram", &ram], "names the block ram twice"),
        (["--wait", "soon"], "wanted a number of seconds"),
    ] {
        run(&[&send[..], &more].concat())?.failed(&[2], &[words])?;
    }
    run(&["send", "--to", "host:4444", "--ram", &ram])?.failed(&[2], &["write tcp:host:4444"])?;
    run(&["recv"])?.failed(&[2], &["--ram"])?;
    // A file that is in the way is not overwritten unasked, nor created where it should exist.
    // --from is what --listen was called before.
    let recv = ["recv", "--from", "tcp:127.0.0.1:0", "--ram"];
    run(&[&recv[..], &[&ram]].concat())?.failed(&[2], &["already exists", "--in-place"])?;
    let new = folder.text("new");
    run(&[&recv[..], &[&new, "--in-place"]].concat())?.failed(&[2], &["does not exist"])
}

#[test]
fn short_forms_set_what_they_are_short_for() -> Result<()> {
    let folder = Folder::new()?;
    let ram = folder.write("source", &guest(7))?;
    let listen = [
        "--compression",
        "zstd",
        "--channels",
        "3",
        "--ram",
        &folder.text("new"),
    ];
    let (receiving, to) = recv("tcp:127.0.0.1:0", &listen)?;
    // The same value in both ways is no contradiction.
    let set = [
        "--channels",
        "3",
        "--set",
        "multifd-channels=0x3",
        "--set",
        "multifd-compression=zstd",
    ];
    let limit = ["--max-bandwidth", "64M", "--ram", &ram];
    let sent = send(&to, &[&set[..], &limit].concat())?.json(0)?;
    assert_eq!(sent["multifd-compression"], "zstd");
    assert_eq!(sent["multifd-channels"], 3);
    let received = receiving.finish()?.json(0)?;
    assert_eq!(received["multifd-compression"], "zstd");
    assert_eq!(received["multifd-channels"], 3);
    folder.same("source", "new")?;

    let send = ["send", "--to", "unix:/nowhere", "--ram", &ram];
    let recv = ["recv", "--listen", "unix:/nowhere", "--save", "/nowhere"];
    for (command, more, words) in [
        (
            &send,
            ["--channels", "4", "--set", "multifd-channels=8"],
            "--channels 4 contradicts",
        ),
        (
            &recv,
            ["--compression", "zstd", "--set", "multifd-compression=zlib"],
            "--compression zstd contradicts",
        ),
        (
            &send,
            ["--max-bandwidth", "1G", "--set", "max-bandwidth=2G"],
            "--max-bandwidth 1073741824 contradicts",
        ),
        (
            &recv,
            ["--tls-dir", "/a", "--set", "tls-creds=/b"],
            "--tls-dir \"/a\" contradicts --set tls-creds=/b",
        ),
        (
            &send,
            ["--tls-hostname", "a", "--set", "tls-hostname=b"],
            "--tls-hostname \"a\" contradicts",
        ),
        (
            &send,
            ["--compression", "lz4", "--channels", "4"],
            "wanted one of none, zlib, zstd",
        ),
        (
            &send,
            ["--compression", "zstd", "--channels", "256"],
            "256 is not in 1..=255",
        ),
    ] {
        run(&[&command[..], &more].concat())?.failed(&[2], &[words])?;
    }
    // In a demo other options say what these are.
    run(&["demo", "--set", "multifd-channels=4"])?.failed(&[2], &["use --channels"])
}

#[test]
fn what_is_no_memory_is_refused() -> Result<()> {
    let folder = Folder::new()?;
    let odd = folder.write("odd", &[1; 5000])?;
    let empty = folder.write("empty", &[])?;
    let missing = folder.text("missing");
    for (ram, words) in [
        (&odd, "wanted a multiple of 4096"),
        (&empty, "is empty"),
        (&missing, "No such file"),
    ] {
        let sent = run(&["send", "--to", "unix:/nowhere", "--ram", ram])?;
        sent.failed(&[1], &[ram, words])?;
    }
    Ok(())
}

#[test]
fn help_tells_the_exit_statuses() -> Result<()> {
    for command in [&["--help"][..], &["send", "--help"], &["recv", "--help"]] {
        let help = run(command)?;
        assert_eq!(help.code, Some(0));
        let text = help.stdout;
        assert!(text.contains("130  ended by SIGINT"), "{text}");
    }
    let help = run(&["help", "send"])?.stdout;
    let places = ["\nGuest:", "\nConnection:", "\nExamples:", "\nExit status:"];
    let places = places.map(|heading| help.find(heading));
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{help}"
    );
    Ok(())
}

/// A table that is wider than the terminal becomes a list, and lines are broken between words.
#[test]
fn what_is_printed_fits_a_narrow_terminal() -> Result<()> {
    let folder = Folder::new()?;
    let fill = folder.write("fill", &guest(100))?;
    let bench = [
        "bench",
        "--memory",
        "1M",
        "--fill",
        &fill,
        "--methods",
        "none",
        "--runs",
        "1",
    ];
    for (args, words) in [
        (&bench[..], "\n  total time (ms)  "),
        (&["doctor"], "\n  ok        zlib: software"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_multifd"));
        let printed = command.args(args).env("COLUMNS", "40").output()?;
        let printed = String::from_utf8(printed.stdout)?;
        assert!(printed.contains(words), "{printed}");
        for line in printed.lines().filter(|line| line.len() > 40) {
            // A word that is longer than a line has it to itself.
            assert!(line.trim().split(' ').count() <= 2, "{line}");
        }
    }
    Ok(())
}

#[test]
fn the_version_tells_the_commit_and_what_is_built_in() -> Result<()> {
    let long = run(&["--version"])?.stdout;
    let lines: Vec<_> = long.lines().collect();
    let methods = format!("methods: {}", METHODS.join(", "));
    assert_eq!(lines[1..], [methods.as_str(), "TLS: 1.3"]);
    assert_eq!(run(&["-V"])?.stdout.trim_end(), lines[0]);
    let version = lines[0].strip_prefix(concat!("multifd ", env!("CARGO_PKG_VERSION")));
    let version = version.with_context(|| long.clone())?;
    // Nothing in a package, and where there is no git; and a debug build does not ask.
    let git = Command::new("git")
        .args(["ls-files", "--error-unmatch", "Cargo.toml"])
        .output();
    let is_checkout = git.is_ok_and(|output| output.status.success());
    let commit = version
        .strip_prefix(" (commit ")
        .and_then(|rest| rest.strip_suffix(')'));
    match commit {
        Some(commit) => {
            let is_hex = commit.chars().all(|letter| letter.is_ascii_hexdigit());
            assert!(is_hex && commit.len() >= 12, "{long}");
        }
        None => {
            let is_known = is_checkout && !cfg!(debug_assertions);
            assert!(version.is_empty() && !is_known, "{long}");
        }
    }
    Ok(())
}

#[test]
fn without_json_the_first_line_is_the_address() -> Result<()> {
    let folder = Folder::new()?;
    let args = [
        "recv",
        "--listen",
        "tcp:127.0.0.1:0",
        "--ram",
        &folder.text("new"),
        "--wait",
        "0.1",
    ];
    let text = run(&args)?.stdout;
    assert!(text.starts_with("listening on tcp:127.0.0.1:"), "{text}");
    assert!(!text.contains(":0\n"), "{text}");
    // With it stdout is for the object alone.
    let (receiving, _) = recv("tcp:127.0.0.1:0", &args[3..])?;
    assert_eq!(receiving.finish()?.json(4)?["exit-code"], 4);
    Ok(())
}
