// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Migrations that succeed.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::harness::{Folder, METHODS, PAGE, guest, noise, recv, send};

const PAGES: usize = 700;

/// Migrates `source` in the folder to `destination` there; answers both reports.
fn migrate(
    folder: &Folder,
    from: &str,
    recv_args: &[&str],
    send_args: &[&str],
) -> Result<(Value, Value)> {
    let (source, destination) = (folder.text("source"), folder.text("destination"));
    let recv_args = [&["--ram", destination.as_str()], recv_args].concat();
    let send_args = [&["--ram", source.as_str()], send_args].concat();
    let (receiving, address) = recv(from, &recv_args)?;
    let sent = send(&address, &send_args)?;
    let received = receiving.finish()?;
    let reports = (sent.json(0)?, received.json(0)?);
    folder.same("source", "destination")?;
    ensure!(!folder.exists("destination.partial"));
    Ok(reports)
}

#[test]
fn each_method_migrates_over_tcp() -> Result<()> {
    for method in METHODS {
        let folder = Folder::new()?;
        folder.write("source", &guest(PAGES))?;
        let set = format!("multifd-compression={method}");
        let args = ["--set", set.as_str(), "--set", "multifd-channels=3"];
        let (sent, received) = migrate(&folder, "tcp:127.0.0.1:0", &args, &args)?;
        for report in [&sent, &received] {
            assert_eq!(report["status"], "completed");
            assert_eq!(report["multifd-compression"], method);
            assert_eq!(report["channels"].as_array().map(Vec::len), Some(3));
            assert_eq!(report["ram"]["total"], PAGES * PAGE);
            assert_eq!(report["ram"]["page-size"], PAGE);
            assert_eq!(
                report["ram"]["duplicate"],
                PAGES.div_ceil(7) + (PAGES - 1).div_ceil(7)
            );
        }
        assert_eq!(sent["ram"]["normal"], received["ram"]["normal"]);
        assert_eq!(
            sent["ram"]["multifd-bytes"],
            received["ram"]["multifd-bytes"]
        );
        assert_eq!(sent["socket-address"], received["socket-address"]);
        // With two zero pages in seven it is over 1 even without compression.
        assert!(sent["ratio"].as_f64() > Some(1.0), "{sent:#}");
    }
    Ok(())
}

#[test]
fn each_method_migrates_over_a_unix_socket() -> Result<()> {
    for method in METHODS {
        let folder = Folder::new()?;
        folder.write("source", &guest(PAGES))?;
        let from = format!("unix:{}", folder.text("socket"));
        let set = format!("multifd-compression={method}");
        migrate(&folder, &from, &["--set", &set], &["--set", &set])?;
        assert_eq!(folder.names()?, ["destination", "source"]);
    }
    Ok(())
}

#[test]
fn a_name_and_ipv6_are_addresses() -> Result<()> {
    // A host may have no IPv6 at all.
    let ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    for from in ["tcp:localhost:0", "tcp:[::1]:0", "tcp::0"] {
        if from.contains("::1") && !ipv6 {
            continue;
        }
        let folder = Folder::new()?;
        folder.write("source", &guest(10))?;
        let (_, received) = migrate(&folder, from, &[], &[])?;
        assert_ne!(received["socket-address"], from);
    }
    Ok(())
}

#[test]
fn several_blocks_keep_their_names() -> Result<()> {
    let folder = Folder::new()?;
    let small = folder.write("small", &guest(5))?;
    let large = folder.write("large", &guest(300))?;
    let at_destination = |name: &str| format!("{name}={}", folder.text(&format!("{name}.img")));
    // The order of the arguments does not matter.
    let (pc, rom) = (at_destination("pc.ram"), at_destination("rom"));
    let (receiving, address) = recv("tcp:127.0.0.1:0", &["--ram", &rom, "--ram", &pc])?;
    let (pc, rom) = (format!("pc.ram={large}"), format!("rom={small}"));
    send(&address, &["--ram", &pc, "--ram", &rom])?.json(0)?;
    receiving.finish()?.json(0)?;
    folder.same("large", "pc.ram.img")?;
    folder.same("small", "rom.img")
}

#[test]
fn all_shapes_of_the_main_channel_are_understood() -> Result<()> {
    for args in [
        ["--set", "return-path=off"],
        ["--set", "zero-page-detection=legacy"],
        ["--set", "zero-page-detection=none"],
        ["--sync", "per-section"],
        ["--machine", "pc-q35-10.0"],
    ] {
        let folder = Folder::new()?;
        folder.write("source", &guest(PAGES))?;
        migrate(&folder, "tcp:127.0.0.1:0", &[], &args)?;
    }
    Ok(())
}

#[test]
fn a_file_that_exists_is_written_in_place() -> Result<()> {
    let folder = Folder::new()?;
    let memory = guest(PAGES);
    folder.write("source", &memory)?;
    // Zero pages must become zero here, too.
    let mut state = 1;
    folder.write("destination", &noise(&mut state, memory.len()))?;
    migrate(&folder, "tcp:127.0.0.1:0", &["--in-place"], &[])?;
    Ok(())
}

#[test]
fn the_device_state_is_kept_on_demand() -> Result<()> {
    let folder = Folder::new()?;
    folder.write("source", &guest(3))?;
    let devices = folder.text("devices");
    let (_, received) = migrate(&folder, "tcp:127.0.0.1:0", &["--devices", &devices], &[])?;
    let len = fs::metadata(folder.path("devices"))?.len();
    assert_eq!(received["devices"]["bytes"], len);
    assert_eq!(received["devices"]["file"], devices);
    assert_eq!(folder.names()?, ["destination", "devices", "source"]);
    Ok(())
}

#[test]
fn the_source_may_come_first() -> Result<()> {
    let folder = Folder::new()?;
    let source = folder.write("source", &guest(10))?;
    let (uri, file) = (
        format!("unix:{}", folder.text("socket")),
        folder.text("destination"),
    );
    let sending = crate::harness::start(&[
        "send", "--json", "--to", &uri, "--ram", &source, "--wait", "50",
    ])?;
    let (receiving, _) = recv(&uri, &["--ram", &file])?;
    sending.finish()?.json(0)?;
    receiving.finish()?.json(0)?;
    folder.same("source", "destination")
}

#[test]
fn the_bandwidth_is_that_of_all_channels() -> Result<()> {
    const LIMIT: f64 = (32 << 20) as f64;
    let folder = Folder::new()?;
    let mut state = 7;
    folder.write("source", &noise(&mut state, 16 << 20))?;
    for set in ["multifd-compression=none", "multifd-compression=zstd"] {
        let args = ["--set", set, "--set", "multifd-channels=4"];
        let send_args = [&args[..], &["--max-bandwidth", "32M"]].concat();
        let (sent, _) = migrate(&folder, "tcp:127.0.0.1:0", &args, &send_args)?;
        let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
        let seconds = (number(&sent["total-time"]) - number(&sent["setup-time"])) / 1e3;
        let rate = number(&sent["ram"]["transferred"]) / seconds;
        assert!(rate <= 1.05 * LIMIT, "{rate} bytes per second: {sent:#}");
        fs::remove_file(folder.path("destination"))?;
    }
    Ok(())
}
