// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

use std::path::Path;

use clap::{ArgAction, Command, CommandFactory as _};

use super::file::ConfigFile;
use super::value::{NOT_IN_FILES, is_option};
use super::*;
use crate::args::{self, Args};
use crate::show::failure::Failure;

/// One of these is a value of any option.
const VALUES: [&str; 10] = [
    "unix:/x",
    "json",
    "7",
    "on",
    "8K",
    "192.0.2.1",
    "12345678-1234-1234-1234-123456789abc",
    "max-bandwidth=5",
    "qpl=/x",
    "auto",
];

fn relay() -> Command {
    let mut command = Args::command();
    command.build();
    command.find_subcommand("relay").unwrap().clone()
}

fn parse(text: &str) -> Result<ConfigFile, Failure> {
    ConfigFile::parse(Path::new("F"), text, &relay())
}

/// What a relay is told with a file of this text, and these arguments.
fn read(text: &str, typed: &[&str]) -> Result<Reading, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.toml");
    std::fs::write(&path, text).unwrap();
    let words = ["multifd", "relay"].iter().chain(typed);
    let given = Given::new(words.map(Into::into).collect(), path);
    given.read().map_err(|error| match error {
        Unusable::File(failure) => failure.to_string(),
        Unusable::CommandLine(error) => error.to_string(),
    })
}

/// The values in force, by the names of the options.
fn value<'r>(reading: &'r str, name: &str) -> Option<&'r str> {
    let lines = reading.lines().map(|line| line.trim_start_matches('#'));
    let mut lines = lines.filter_map(|line| line.split_once(" = "));
    let (_, rest) = lines.find(|(of, _)| *of == name)?;
    rest.rsplit_once("  # ").map(|(value, _)| value.trim_end())
}

fn in_force(text: &str, typed: &[&str]) -> String {
    match read(text, typed) {
        Ok(reading) => reading.in_force.to_string(),
        Err(error) => panic!("{text} {typed:?}: {error}"),
    }
}

#[test]
fn every_option_of_a_relay_can_be_in_a_file() {
    // What some options need.
    const BASE: &str = "to = 'unix:/to'\nkeep-listening = true\nadapt = true\n";
    let mut count = 0;
    for arg in relay().get_arguments() {
        let is_help = matches!(
            arg.get_action(),
            ArgAction::Help | ArgAction::HelpLong | ArgAction::HelpShort | ArgAction::Version
        );
        let long = arg.get_long().unwrap();
        if is_help || NOT_IN_FILES.contains(&long) {
            continue;
        }
        assert!(is_option(arg), "--{long} cannot be in a file");
        count += 1;
        let is_flag = matches!(arg.get_action(), ArgAction::SetTrue);
        let (line, typed) = match is_flag {
            true => (format!("{long} = true"), format!("--{long}")),
            false => {
                let is_its = |value: &&&str| parse(&format!("{long} = '{value}'")).is_ok();
                let value = VALUES.iter().find(is_its);
                let value = value.unwrap_or_else(|| panic!("no value for --{long}"));
                (format!("{long} = '{value}'"), format!("--{long}={value}"))
            }
        };
        let base: Vec<_> = BASE
            .lines()
            .filter(|base| !base.starts_with(&format!("{long} ")))
            .collect();
        let file = format!("{}\n{line}\n", base.join("\n"));
        let with_file = in_force(&file, &[]);
        assert!(with_file.contains("relay.toml:"), "{with_file}");
        let typed_too = in_force(&base.join("\n"), &[&typed]);
        let changes = |all: &str| {
            let lines = all.lines().filter_map(|line| line.rsplit_once("  # "));
            lines
                .map(|(line, _)| line.trim_end().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(changes(&with_file), changes(&typed_too), "{long}");
        let line = base.len() + 1;
        let place = with_file.lines().filter(|line| line.starts_with(long));
        let place: Vec<_> = place.collect();
        assert!(
            place
                .iter()
                .any(|found| found.ends_with(&format!(":{line}"))),
            "{long}: {place:?}"
        );
    }
    assert!(count > 15, "{count}");
}

#[test]
fn values_have_the_types_of_toml() {
    let text = "to = 'unix:/to'\nkeep-listening = true\nquiet = false\ngrace = 0.5\nmax-migrations = 0x10\n\
                allow = ['192.0.2.0/24', '::1']\ntls-verify-peer = true\n\
                [in]\nmultifd-channels = 1_0\nmultifd-compression = 'zstd'\n";
    let all = in_force(text, &[]);
    for (name, want) in [
        ("quiet", "false"),
        ("grace", "\"0.5\""),
        ("max-migrations", "\"16\""),
        ("allow", "[\"192.0.2.0/24\", \"::1\"]"),
        ("tls-verify-peer", "\"on\""),
        ("in.multifd-channels", "\"10\""),
        ("in.multifd-compression", "\"zstd\""),
        ("wait", "\"0\""),
    ] {
        assert_eq!(value(&all, name), Some(want), "{name} in\n{all}");
    }
    let args::Command::Relay(args) = read(text, &[]).unwrap().args.command else {
        panic!("another command");
    };
    assert!(args.keep_listening && !args.quiet);
    assert_eq!(
        args.incoming,
        ["multifd-channels=10", "multifd-compression=zstd"]
    );
}

#[test]
fn what_is_printed_can_be_read_again() {
    let text = "to = 'unix:/a\\ \"b\"'\nallow = ['::1', '::2']\n[out]\nmax-bandwidth = '1G'\n";
    let printed = in_force(text, &["--listen", "tcp::1", "--library", "qpl=/x"]);
    let again = in_force(&printed, &[]);
    for line in printed.lines() {
        let (name, _) = line.trim_start_matches('#').split_once(" = ").unwrap();
        assert_eq!(value(&printed, name), value(&again, name));
    }
    assert_eq!(printed.lines().count(), again.lines().count());
}

#[test]
fn the_command_line_comes_first() {
    let text = "to = 'unix:/file'\nallow = ['::1', '::2']\nverbose = true\nin = { multifd-channels = 4, max-bandwidth = 1 }\n";
    let typed = [
        "--to=unix:/typed",
        "--allow=::3",
        "--log-level=warn",
        "--in=multifd-channels=8",
    ];
    let all = in_force(text, &typed);
    for (name, want) in [
        ("to", "\"unix:/typed\""),
        ("allow", "[\"::3\"]"),
        ("verbose", "false"),
        ("log-level", "\"warn\""),
        ("in.multifd-channels", "\"8\""),
        ("in.max-bandwidth", "\"1\""),
    ] {
        assert_eq!(value(&all, name), Some(want), "{name} in\n{all}");
    }
    // An option of all commands may stand before the command's name, and that name elsewhere, too.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.toml");
    std::fs::write(&path, text).unwrap();
    for words in [
        &[
            "multifd",
            "--log-level",
            "relay=debug",
            "relay",
            "--in=multifd-channels=8",
        ][..],
        &[
            "multifd",
            "--log-level",
            "relay",
            "relay",
            "--in",
            "multifd-channels=8",
        ],
    ] {
        let given = Given::new(words.iter().map(Into::into).collect(), path.clone());
        let Ok(reading) = given.read() else {
            panic!("{words:?}");
        };
        let all = reading.in_force.to_string();
        assert_eq!(value(&all, "in.multifd-channels"), Some("\"8\""), "{all}");
        assert_eq!(value(&all, "to"), Some("\"unix:/file\""), "{all}");
    }
}

#[test]
fn which_file_is_read_can_be_said() {
    let usual = "to = 'unix:/usual'";
    assert_eq!(value(&in_force(usual, &[]), "to"), Some("\"unix:/usual\""));
    let none = in_force(usual, &["--config", "", "--to=unix:/typed"]);
    assert_eq!(value(&none, "to"), Some("\"unix:/typed\""));
    assert!(!none.contains("relay.toml"), "{none}");
    for (typed, words) in [
        (
            &["--config=/nonexistent/x"][..],
            "cannot read /nonexistent/x",
        ),
        (&["--config="], "--to <ADDRESS>"),
    ] {
        let said = read(usual, typed).err().unwrap();
        assert!(said.contains(words), "{said}");
    }
    // Other commands read none.
    let given = Given::new(["multifd", "params"].map(Into::into).to_vec(), "/".into());
    assert!(given.read().is_ok());
    // Who asks for help gets it.
    let said = read("broken", &["--help"]).err().unwrap();
    assert!(said.contains("Usage: multifd relay"), "{said}");
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    for (text, words) in [
        (
            "\nlistn = 'a'",
            "F:2: listn: is not an option of relay, did you mean listen?",
        ),
        (
            "keep_listening = true",
            "F:1: keep_listening: is not an option of relay, did you mean keep-listening?",
        ),
        (
            "\"a b\" = 1",
            "F:1: a b: is not an option of relay, wanted one that",
        ),
        ("config = 'x'", "F:1: config: is for the command line only"),
        (
            "check-config = true",
            "F:1: check-config: is for the command line only",
        ),
        ("help = true", "F:1: help: is not an option"),
        (
            "\nto = 5",
            "F:2: to: \"5\" cannot be used: \"5\" is not a valid address; wanted tcp:",
        ),
        (
            "to = true",
            "F:1: to: got a value of type boolean, wanted one ADDRESS",
        ),
        (
            "to = ['unix:/x']",
            "F:1: to: got a value of type array, wanted one ADDRESS",
        ),
        (
            "quiet = 1",
            "F:1: quiet: got a value of type integer, wanted true or false",
        ),
        (
            "allow = {}",
            "F:1: allow: got a value of type table, wanted CIDR, or an array of them",
        ),
        (
            "allow = [\n'::1',\n'x']",
            "F:3: allow: \"x\" cannot be used: wanted an address or a network",
        ),
        ("allow = [['::1']]", "F:1: allow: got a value of type array"),
        (
            "in = {max-bandwidth = []}",
            "F:1: in: got a value of type array, wanted a table of NAME = VALUE",
        ),
        (
            "[in]\nmultifd-chanels = 2",
            "F:2: in: \"multifd-chanels=2\" cannot be used: no parameter or capability is named",
        ),
        (
            "[in]\ndowntime-limit = 2",
            "F:2: in: \"downtime-limit=2\" cannot be used: downtime-limit is not for a relay",
        ),
        (
            "in = ['max-bandwidth=1',\n'max-bandwidth: 2']",
            "F:2: in: max-bandwidth is given twice, wanted once",
        ),
        (
            "log-format = 'xml'",
            "F:1: log-format: \"xml\" cannot be used: wanted one of text, json",
        ),
        (
            "uuid = 2026-01-01",
            "F:1: uuid: got a value of type datetime",
        ),
        ("to = 'unix:/x'\nto = 'unix:/y'", "F:2: to: duplicate key"),
        (
            "verbose = true\n\nlog-level = 'warn'",
            "F:3: log-level: contradicts verbose on line 1",
        ),
        ("to = \n", "F:1: "),
        ("to", "F:1: "),
    ] {
        let said = parse(text).unwrap_err().to_string();
        assert!(said.starts_with(words), "{text}\n{said}\nwanted {words}");
        assert!(!said.contains('\n'), "{said}");
    }
}

#[test]
fn both_together_are_checked() {
    for (text, typed, words) in [
        ("listen = 'unix:/x'", &[][..], "--to <ADDRESS>"),
        ("to = 'unix:/x'\ngrace = 5", &[], "--keep-listening"),
        ("to = 'unix:/x'", &["--listne=x"], "--listne"),
    ] {
        let said = read(text, typed).err().unwrap();
        assert!(said.contains(words), "{said}\nwanted {words}");
    }
}

#[test]
fn the_example_is_one() {
    let example = include_str!("../../../packaging/relay.toml");
    parse(example).unwrap();
    let is_option =
        |line: &str| line.starts_with('#') && !line.starts_with("# ") && line.contains(" = ");
    let lines: Vec<_> = example.lines().collect();
    let mut count = 0;
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| is_option(line)) {
        let (line, mut lines) = (&line[1..], lines.clone());
        let (name, _) = line.split_once(" = ").unwrap();
        // Some are another way to say what is there already.
        lines.retain(|other| {
            other
                .split_once(" = ")
                .is_none_or(|(other, _)| other != name)
        });
        let at = lines
            .iter()
            .position(|other| *other == format!("#{line}"))
            .unwrap_or(at);
        lines[at] = line;
        parse(&lines.join("\n")).unwrap_or_else(|error| panic!("{line}: {error}"));
        count += 1;
    }
    assert!(count > 10, "{count}");
}

#[test]
fn changes_are_named() {
    let read = |text| read(text, &[]).unwrap().in_force;
    let (old, new) = (
        read("to = 'unix:/a'\nallow = '::1'\n[in]\nmultifd-channels = 3"),
        read("to = 'unix:/b'\nallow-uid = 7\n[in]\nmultifd-channels = 3"),
    );
    let changes = old.changes(&new);
    let said: Vec<_> = changes.iter().map(ToString::to_string).collect();
    let want = [
        "allow: nothing, was [\"::1\"]",
        "allow-uid: [\"7\"], was nothing",
        "to: \"unix:/b\", was \"unix:/a\"",
    ];
    assert_eq!(said, want);
    let mut mixed = old.clone();
    mixed.take(&["allow", "allow-uid"], &new);
    let left: Vec<_> = mixed
        .changes(&new)
        .into_iter()
        .map(|change| change.name)
        .collect();
    assert_eq!(left, ["to"]);
}
