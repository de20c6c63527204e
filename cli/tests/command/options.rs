// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Options of which no other test needs one: what each changes.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use multifd_tests::command::Running;
use multifd_tests::stand_in::StandIn;
use serde_json::{Value, json};

use crate::harness::{Folder, guest, recv, run, send, start};

#[test]
fn a_report_is_a_page_with_charts_of_each_case() -> Result<()> {
    let folder = Folder::new()?;
    let fill = folder.write("fill", &guest(100))?;
    let page = folder.text("report.html");
    let memory = [
        "--memory",
        "2M",
        "--fill",
        &fill,
        "--compression",
        "none,zstd",
        "--json",
    ];
    let report = ["--report", &page];
    for command in [
        &["demo", "--dirty-rate", "1M"][..],
        &["bench", "--runs", "1"],
    ] {
        let rows = run(&[command, &memory, &report].concat())?.json(0)?;
        let rows = rows["results"].as_array().context("no results")?;
        let methods: Vec<_> = rows.iter().map(|row| &row["method"]).collect();
        assert_eq!(methods, ["none", "zstd"]);
        let html = fs::read_to_string(&page)?;
        fs::remove_file(&page)?;
        assert!(html.starts_with("<!doctype html>"), "{html}");
        for row in ["<td>none", "<td>zstd"] {
            assert_eq!(html.matches(row).count(), 1, "{row} in {html}");
        }
        assert!(html.matches("<svg").count() >= 2, "{html}");
    }
    Ok(())
}

/// What a demo is told of its guest reaches both hypervisors.
#[test]
fn a_demo_has_the_guest_that_is_wanted() -> Result<()> {
    let folder = Folder::new()?;
    let fill = folder.write("fill", &guest(100))?;
    let memory = [
        "demo",
        "--memory",
        "4M",
        "--fill",
        &fill,
        "--methods",
        "none",
        "--json",
    ];
    let work = [
        "--threads",
        "--vcpus",
        "3",
        "--pattern",
        "hot",
        "--working-set",
        "1M",
    ];
    let demo = run(&[&memory[..], &work, &["--dirty-rate", "2M"]].concat())?;
    let words = "guest: 3 threads for vCPUs (--threads was given), writes 2.00 MiB a second, hot pages of 1.00 MiB";
    demo.ended(&[0], &[words])?;
    let demo = demo.json(0)?;
    let want = json!({
        "processors": "threads", "vcpus": 3, "dirty-rate": 2 << 20, "pattern": "hot",
        "working-set": 1 << 20,
    });
    assert_eq!(demo["guest"], want);
    assert_eq!(demo["results"][0]["verified"], true);
    run(&[&memory[..], &["--pattern", "zigzag"]].concat())?.failed(&[2], &["zigzag"])?;
    run(&[&memory[..], &["--vcpus", "65"]].concat())?.failed(&[2], &["65 is not in 1..=64"])
}

#[test]
fn a_timeline_grows_to_the_end() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(500))?;
    for wanted in [&["--timeline"][..], &[]] {
        let new = folder.text("new");
        let (receiving, to) = recv("tcp:127.0.0.1:0", &[&["--ram", &new], wanted].concat())?;
        let limit = ["--ram", &source, "--max-bandwidth", "16M"];
        let sent = send(&to, &[&limit[..], wanted].concat())?.json(0)?;
        let received = receiving.finish()?.json(0)?;
        fs::remove_file(&new)?;
        for report in [sent, received] {
            let Some(samples) = report["timeline"].as_array() else {
                ensure!(wanted.is_empty(), "{report:#}");
                continue;
            };
            ensure!(!wanted.is_empty(), "{report:#}");
            let bytes: Vec<_> = samples
                .iter()
                .map(|sample| sample["guest-bytes"].as_u64())
                .collect();
            assert!(bytes.len() >= 2 && bytes.is_sorted(), "{bytes:?}");
            assert_eq!(bytes.last(), Some(&Some(500 * 4096)));
        }
    }
    let recv = [
        "recv",
        "--listen",
        "unix:/nowhere",
        "--ram",
        "/nowhere",
        "--timeline",
    ];
    run(&recv)?.failed(&[2], &["--json"])
}

/// Levels by how many packets had them.
fn levels(sent: &Value) -> Result<Vec<(String, u64)>> {
    let rungs = sent["rungs"].as_array().context("nothing was chosen")?;
    rungs
        .iter()
        .map(|rung| {
            let level = rung["level"].as_str().context("no level")?;
            let packets = rung["packets"].as_u64().context("no packets")?;
            Ok((level.to_owned(), packets))
        })
        .collect()
}

#[test]
fn compression_is_chosen_within_its_limits() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(2000))?;
    let sent = |more: &[&str]| -> Result<Value> {
        let new = folder.text("new");
        let zstd = ["--compression", "zstd", "--ram"];
        let (receiving, to) = recv("tcp:127.0.0.1:0", &[&zstd[..], &[&new]].concat())?;
        // The link is the limit.
        let slow = ["--max-bandwidth", "8M"];
        let sent = send(&to, &[&zstd[..], &[&source], &slow, more].concat())?.json(0)?;
        receiving.finish()?.json(0)?;
        folder.same("source", "new")?;
        fs::remove_file(&new)?;
        Ok(sent)
    };
    let low = |level: &str| level == "raw" || level.starts_with('-');
    let limited = levels(&sent(&["--adapt", "--adapt-max-level", "1"])?)?;
    let too_high = |level: &str| !low(level) && level != "1";
    ensure!(
        !limited.iter().any(|(level, _)| too_high(level)),
        "{limited:?}"
    );

    let limited = levels(&sent(&["--adapt", "--cpu-limit", "1"])?)?;
    let packets = |wanted: &dyn Fn(&str) -> bool| -> u64 {
        let some = limited.iter().filter(|(level, _)| wanted(level));
        some.map(|(_, packets)| packets).sum()
    };
    ensure!(2 * packets(&low) > packets(&|_| true), "{limited:?}");

    // Without it the method's level counts.
    let plain = sent(&["--set", "multifd-zstd-level=3"])?;
    assert!(plain["rungs"].is_null(), "{plain:#}");
    for (option, value) in [("--adapt-max-level", "1"), ("--cpu-limit", "1")] {
        let send = [
            "send",
            "--to",
            "unix:/nowhere",
            "--ram",
            &source,
            option,
            value,
        ];
        run(&send)?.failed(&[2], &["--adapt"])?;
    }
    Ok(())
}

/// The threads of the channels, and no others, run where and as they are told.
#[test]
fn channels_run_where_they_are_told() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(2000))?;
    let own = fs::read_to_string("/proc/thread-self/status")?;
    let allowed = status(&own, "Cpus_allowed_list").context("no processors")?;
    let first = allowed.split([',', '-']).next().context("no processor")?;
    let (_receiving, to) = recv("tcp:127.0.0.1:0", &["--ram", &folder.text("new")])?;
    let place = ["--cpus", first, "--nice", "7", "--channels", "2"];
    let slow = ["--max-bandwidth", "64K", "--ram", &source];
    let mut sending = start(&[&["send", "--to", &to], &place[..], &slow].concat())?;
    let begin = Instant::now();
    loop {
        let threads = threads(&sending)?;
        let placed = threads.iter().filter(|(nice, _)| *nice == 7);
        if placed.clone().count() == 2 {
            ensure!(placed.clone().all(|(_, cpus)| cpus == first), "{threads:?}");
            ensure!(threads.len() > 2, "{threads:?}");
            return Ok(());
        }
        ensure!(sending.is_running()?, "{:#?}", sending.finish());
        ensure!(begin.elapsed() < Duration::from_secs(60), "{threads:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// How nice each thread of a process is, and where it may run.
fn threads(process: &Running) -> Result<Vec<(i32, String)>> {
    let mut threads = Vec::new();
    for entry in fs::read_dir(format!("/proc/{}/task", process.id()))? {
        let path = entry?.path();
        // It may have ended meanwhile.
        let (Ok(stat), Ok(text)) = (
            fs::read_to_string(path.join("stat")),
            fs::read_to_string(path.join("status")),
        ) else {
            continue;
        };
        let (_, behind) = stat.rsplit_once(')').context("no name")?;
        // The nineteenth field, of which two stand before.
        let nice = behind.split_whitespace().nth(16).context("no niceness")?;
        let cpus = status(&text, "Cpus_allowed_list").context("no processors")?;
        threads.push((nice.parse()?, cpus.to_owned()));
    }
    Ok(threads)
}

/// A line of `/proc/PID/status`.
fn status<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(of, _)| *of == name)?;
    Some(value.trim())
}

#[test]
fn bench_and_relay_use_the_library_that_is_named() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(50))?;
    let library = StandIn::qatzip(&[])?;
    let library = format!("qatzip={}", library.path().display());
    let bench = [
        "bench",
        "--memory",
        "1M",
        "--fill",
        &source,
        "--runs",
        "1",
        "--methods",
        "qatzip",
    ];
    for (who, path) in [("hardware", "hardware"), ("software", "software")] {
        let choice = ["--accelerator", who, "--library", &library];
        let rows = run(&[&bench[..], &choice, &["--json"]].concat())?.json(0)?;
        let paths = &rows["results"][0]["send-paths"];
        assert!(paths[path].as_u64() > Some(0), "{who}: {rows:#}");

        let new = folder.text("new");
        let (receiving, to) = recv(
            "tcp:127.0.0.1:0",
            &["--ram", &new, "--compression", "qatzip"],
        )?;
        let relay = [
            "relay",
            "--listen",
            "tcp:127.0.0.1:0",
            "--to",
            &to,
            "--json",
        ];
        let out = ["--out", "multifd-compression=qatzip"];
        let mut relaying = start(&[&relay[..], &out, &choice].concat())?;
        let address = relaying.wait_address()?;
        send(&address, &["--ram", &source])?.json(0)?;
        let passed = relaying.finish()?.json(0)?;
        let implementation = passed["out"]["implementation"].as_str().context("none")?;
        assert!(implementation.starts_with(who), "{implementation}");
        assert!(
            passed["out"]["paths"][path].as_u64() > Some(0),
            "{passed:#}"
        );
        receiving.finish()?.json(0)?;
        folder.same("source", "new")?;
        fs::remove_file(&new)?;
    }
    Ok(())
}

#[test]
fn advice_is_for_the_hosts_that_are_described() -> Result<()> {
    let folder = Folder::new()?;
    let ram = folder.write("ram", &guest(2048))?;
    let advise = |more: &[&str]| {
        let sample = [
            "advise",
            "--sample",
            "2M",
            "--levels",
            "1",
            "--channels",
            "4",
        ];
        let rest = [
            "--ram",
            &ram,
            "--bandwidth",
            "0",
            "--compression",
            "none,zstd",
        ];
        run(&[&sample[..], &rest, more].concat())
    };
    let one = [
        "--cores",
        "1",
        "--destination-cores",
        "16",
        "--downtime-limit",
        "50",
    ];
    let advice = advise(&[&one[..], &["--json"]].concat())?.json(0)?;
    let link = &advice["links"][0];
    assert_eq!(link["cores"], json!({ "send": 1.0, "recv": 16.0 }));
    assert_eq!(link["shared"], false);
    let candidates = link["candidates"].as_array().context("no candidates")?;
    assert_eq!(candidates.len(), 2);
    for candidate in candidates {
        assert_eq!(candidate["bound"], "source-cores", "{candidate:#}");
    }
    let hmp = link["set"]["hmp"].to_string();
    assert!(hmp.contains("downtime-limit 50"), "{hmp}");
    let text = advise(&["--cores", "3", "--shared-cores", "--downtime-limit", "70"])?.stdout;
    for words in [
        "down for at most 70 ms",
        "link: no limit, 3 cores for both sides",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    advise(&["--cores", "0"])?.failed(&[2], &["0 is not in 1..=65535"])
}

/// Levels of the log by module, as text and as JSON.
#[test]
fn the_log_is_as_it_is_wanted() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(7))?;
    let sent = |more: &[&str]| -> Result<String> {
        let new = folder.text("new");
        let method = ["--compression", "qatzip", "--accelerator", "software"];
        let (receiving, to) = recv("tcp:127.0.0.1:0", &[&["--ram", &new], &method[..]].concat())?;
        let quiet = ["--quiet", "--ram", &source];
        let sent = send(&to, &[&quiet[..], &method, more].concat())?;
        receiving.finish()?.json(0)?;
        fs::remove_file(&new)?;
        Ok(sent.stderr)
    };
    for none in [
        &[][..],
        &["--log-level", "off"],
        &["--log-level", "nothing=trace,off"],
    ] {
        assert_eq!(sent(none)?, "", "{none:?}");
    }
    let words = "sending with qatzip: software";
    let text = sent(&["--log-level", "info"])?;
    assert!(text.contains(&format!("multifd: info: {words}")), "{text}");
    let lines = sent(&["--log-level", "info", "--log-format", "json"])?;
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| lines.clone()))
        .collect::<Result<_>>()?;
    let is_it = |line: &Value| line["level"] == "info" && line.to_string().contains(words);
    assert!(lines.iter().any(is_it), "{lines:?}");
    let wrong = [
        "send",
        "--to",
        "unix:/x",
        "--ram",
        "/x",
        "--log-level",
        "multifd=loud",
    ];
    run(&wrong)?.failed(&[2], &["multifd=loud"])
}
