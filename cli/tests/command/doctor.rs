// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `doctor`, on the hosts of `tests/hosts`.

use std::fs;

use anyhow::{Context as _, Result};
use multifd_tests::stand_in::StandIn;
use multifd_tests::vendor_library;
use serde_json::Value;

use crate::harness::{Folder, METHODS, run};
use crate::tree::Tree;

/// The finding about `name` in a section.
fn finding<'a>(report: &'a Value, section: &str, name: &str) -> Result<&'a Value> {
    let findings = report[section].as_array().context("no section")?;
    findings
        .iter()
        .find(|finding| finding["name"] == name)
        .with_context(|| format!("no {name} in {section}: {report:#}"))
}

/// Checks the finding about `name`: its status, and words of what it says and advises.
fn check(report: &Value, section: &str, name: &str, status: &str, words: &[&str]) -> Result<()> {
    let finding = finding(report, section, name)?;
    assert_eq!(finding["status"], status, "{finding:#}");
    let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let said = format!("{} | {}", text("what"), text("advice"));
    for word in words {
        assert!(said.contains(word), "{name} lacks {word:?}: {said}");
    }
    // Whoever is told that something cannot be used is told what to do.
    assert!(
        status != "unusable" || finding["advice"].is_string(),
        "{finding:#}"
    );
    Ok(())
}

#[test]
fn a_host_without_accelerators_is_not_told_to_install_anything() -> Result<()> {
    let report = Tree::of("nothing")?.doctor()?;
    for method in METHODS {
        check(&report, "methods", method, "ok", &["software"])?;
    }
    check(
        &report,
        "methods",
        "qatzip",
        "ok",
        &["there is no device for it"],
    )?;
    for device in ["QAT", "IAA", "HiSilicon ZIP"] {
        check(&report, "devices", device, "missing", &["no device"])?;
    }
    for library in ["libqatzip.so.3", "libqpl.so.1", "libwd_comp.so.2"] {
        check(
            &report,
            "libraries",
            library,
            "missing",
            &["nothing here needs it"],
        )?;
        assert!(finding(&report, "libraries", library)?["advice"].is_null());
    }
    check(
        &report,
        "libraries",
        "libisal.so.2",
        "missing",
        &["libisal2"],
    )?;
    check(
        &report,
        "system",
        "processor",
        "ok",
        &["A Processor, 2 cores, 1 numa node"],
    )?;
    check(
        &report,
        "system",
        "instructions",
        "missing",
        &["avx2;", "not there: avx512bw"],
    )?;
    check(&report, "system", "kernel", "ok", &["6.12.0"])?;
    check(
        &report,
        "system",
        "memory",
        "ok",
        &["15.6 GiB, 11.7 GiB available"],
    )?;
    check(&report, "system", "locked memory", "ok", &["8 MiB"])?;
    check(
        &report,
        "system",
        "IOMMU",
        "missing",
        &["no device needs it"],
    )
}

#[test]
fn a_qat_device_is_ready() -> Result<()> {
    let report = Tree::of("qat-4xxx")?.doctor()?;
    check(
        &report,
        "methods",
        "qatzip",
        "ok",
        &["hardware", "1 device"],
    )?;
    let facts = [
        "2 virtual functions for processes",
        "driver 4xxx, up, services dc, 2 of 16 virtual functions, numa node 0",
    ];
    check(&report, "devices", "QAT 4xxx 0000:6b:00.0", "ok", &facts)?;
    // Its virtual functions are a part of it, not more devices.
    let devices = report["devices"].as_array().context("no devices")?;
    assert_eq!(devices.len(), 3, "{devices:#?}");
    let library = ["version 3.3.1", "/usr/lib/x86_64-linux-gnu/libqatzip.so.3"];
    check(&report, "libraries", "libqatzip.so.3", "ok", &library)?;
    check(&report, "system", "qatlib's service", "ok", &["runs"])?;
    check(
        &report,
        "system",
        "IOMMU",
        "ok",
        &["3 groups", "intel_iommu=on"],
    )?;
    check(&report, "system", "locked memory", "ok", &["195 MiB"])?;
    check(
        &report,
        "system",
        "huge pages",
        "ok",
        &["2048 of 2 MiB (2000 free)"],
    )
}

#[test]
fn each_thing_in_the_way_of_qat_has_its_advice() -> Result<()> {
    const PF: &str = "sys/devices/pci0000:6b/0000:6b:00.0";
    let vf = |number: u8| format!("sys/devices/pci0000:6b/0000:6b:00.{number}");
    let limits = "limits = Max locked memory         8388608              8388608     bytes";
    for (what, changes, words) in [
        (
            "services",
            vec![(format!("{PF}/qat"), "cfg_services = sym;asym")],
            ["for encryption", "ServicesEnabled=dc"],
        ),
        (
            "down",
            vec![(format!("{PF}/qat"), "state = down")],
            [
                "it is down",
                "echo up > /sys/bus/pci/devices/0000:6b:00.0/qat/state",
            ],
        ),
        (
            "no virtual functions",
            vec![(PF.into(), "sriov_numvfs = 0")],
            ["it has no virtual functions", "systemctl enable --now qat"],
        ),
        (
            "no SR-IOV",
            vec![(PF.into(), "sriov_totalvfs = 0")],
            ["cannot have virtual functions", "SR-IOV"],
        ),
        (
            "kernel's own",
            vec![
                (vf(1), "driver -> ../../../bus/pci/drivers/4xxxvf"),
                (vf(2), "driver -> ../../../bus/pci/drivers/4xxxvf"),
            ],
            [
                "no virtual function is bound to vfio-pci",
                "systemctl restart qat",
            ],
        ),
        (
            "permission",
            vec![
                ("dev/vfio".into(), "12 mode 0660"),
                ("dev/vfio".into(), "13 mode 0660"),
            ],
            ["this user may not open /dev/vfio", "usermod -a -G qat"],
        ),
        (
            "permission for all",
            vec![("dev/vfio".into(), "vfio mode 0600")],
            ["this user may not open /dev/vfio/vfio", "usermod -a -G qat"],
        ),
        (
            "passed through",
            vec![(PF.into(), "driver -> ../../../bus/pci/drivers/vfio-pci")],
            ["handed to a guest", "driverctl unset-override 0000:6b:00.0"],
        ),
        (
            "locked memory",
            vec![("proc/self".into(), limits)],
            [
                "8 MiB of memory may be locked, 1 QAT devices need 36 MiB",
                "memlock 36864",
            ],
        ),
    ] {
        let tree = Tree::of("qat-4xxx")?;
        for (folder, line) in changes {
            tree.set(&folder, line)?;
        }
        let report = tree.doctor()?;
        let mut all = vec!["software, though there is a device (1)"];
        all.extend(words);
        check(&report, "methods", "qatzip", "unusable", &all).context(what)?;
        if what != "locked memory" {
            let name = "QAT 4xxx 0000:6b:00.0";
            check(&report, "devices", name, "unusable", &words).context(what)?;
        }
    }
    Ok(())
}

#[test]
fn what_is_not_installed_for_qat_is_named() -> Result<()> {
    const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
    for (path, words) in [
        (
            format!("{LIBRARIES}/libqatzip.so.3"),
            ["no libqatzip.so.3", "libqatzip3"],
        ),
        (
            format!("{LIBRARIES}/libqat.so.4"),
            ["no libqat.so.4", "libqat4"],
        ),
        (
            format!("{LIBRARIES}/libusdm.so.0"),
            ["no libusdm.so.0", "libusdm0"],
        ),
        (
            "sys/devices/pci0000:6b/0000:6b:00.0/driver".into(),
            ["no driver", "modprobe qat_4xxx"],
        ),
    ] {
        let tree = Tree::of("qat-4xxx")?;
        tree.remove(&path)?;
        check(&tree.doctor()?, "methods", "qatzip", "unusable", &words)?;
    }
    let tree = Tree::of("qat-4xxx")?;
    tree.remove("sys/devices/pci0000:6b/0000:6b:00.0/driver")?;
    tree.remove("lib/firmware")?;
    let words = ["no firmware qat_4xxx.bin", "linux-firmware"];
    check(
        &tree.doctor()?,
        "devices",
        "QAT 4xxx 0000:6b:00.0",
        "unusable",
        &words,
    )?;

    let tree = Tree::of("qat-4xxx")?;
    tree.remove("run/qat")?;
    let words = ["qatmgr runs without its socket", "systemctl restart qat"];
    check(
        &tree.doctor()?,
        "system",
        "qatlib's service",
        "unusable",
        &words,
    )?;
    tree.remove("proc/1812")?;
    let words = ["does not run", "systemctl enable --now qat"];
    check(
        &tree.doctor()?,
        "system",
        "qatlib's service",
        "unusable",
        &words,
    )?;
    tree.remove("usr/lib/systemd")?;
    let words = ["not installed", "qatlib-service"];
    check(
        &tree.doctor()?,
        "system",
        "qatlib's service",
        "missing",
        &words,
    )
}

#[test]
fn a_library_can_be_elsewhere() -> Result<()> {
    let tree = Tree::of("qat-4xxx")?;
    let root = tree.root().display().to_string();
    let doctor =
        |library: &str| run(&["doctor", "--json", "--root", &root, "--library", library])?.json(0);
    tree.set("opt/qat", "libqatzip.so.3.9.0 elf")?;
    let report = doctor("qatzip=/opt/qat/libqatzip.so.3.9.0")?;
    check(
        &report,
        "libraries",
        "libqatzip.so.3",
        "ok",
        &["version 3.9.0, /opt/qat"],
    )?;
    tree.set("opt/qat", "text = not a library")?;
    let report = doctor("qatzip=/opt/qat/text")?;
    check(
        &report,
        "libraries",
        "libqatzip.so.3",
        "unusable",
        &["/opt/qat/text is not a library"],
    )?;
    let report = doctor("qatzip=/opt/qat/nothing")?;
    let words = ["/opt/qat/nothing is not there", "--library"];
    check(&report, "libraries", "libqatzip.so.3", "unusable", &words)?;
    check(&report, "methods", "qatzip", "unusable", &words)
}

#[test]
fn a_qat_device_needs_an_iommu() -> Result<()> {
    let report = Tree::of("qat-4xxx-no-iommu")?.doctor()?;
    let words = ["the IOMMU is off", "intel_iommu=on"];
    check(
        &report,
        "devices",
        "QAT 4xxx 0000:6b:00.0",
        "unusable",
        &words,
    )?;
    check(&report, "methods", "qatzip", "unusable", &words)?;
    check(&report, "system", "IOMMU", "missing", &["intel_iommu=on"])?;
    // Its user is root, who may lock what there is.
    check(
        &report,
        "system",
        "locked memory",
        "ok",
        &["without a limit"],
    )
}

#[test]
fn older_qat_devices_need_intels_package() -> Result<()> {
    const NAME: &str = "QAT c62x 0000:3d:00.0";
    const PF: &str = "sys/devices/pci0000:3a/0000:3d:00.0";
    let tree = Tree::of("qat-c62x")?;
    let words = ["no driver", "numa node 1", "modprobe qat_c62x"];
    check(&tree.doctor()?, "devices", NAME, "unusable", &words)?;
    // Its kernel driver is not enough.
    tree.set(PF, "driver -> ../../../bus/pci/drivers/c6xx")?;
    let words = ["serves the kernel only", "/dev/usdm_drv"];
    check(&tree.doctor()?, "devices", NAME, "unusable", &words)?;
    tree.set("dev", "qat_dev_processes mode 0660")?;
    tree.set("dev", "usdm_drv mode 0660")?;
    let words = ["may not open /dev/qat_*", "usermod -a -G qat"];
    check(&tree.doctor()?, "devices", NAME, "unusable", &words)?;
    tree.set("dev", "qat_dev_processes mode 0666")?;
    tree.set("dev", "usdm_drv mode 0666")?;
    check(
        &tree.doctor()?,
        "devices",
        NAME,
        "ok",
        &["Intel's driver package"],
    )
}

#[test]
fn an_iaa_device_is_ready() -> Result<()> {
    let report = Tree::of("iaa")?.doctor()?;
    let facts = [
        "1 shared work queues",
        "driver idxd, enabled, wq1.0 shared user, numa node 0",
    ];
    check(&report, "devices", "IAA iax1 0000:6a:02.0", "ok", &facts)?;
    check(
        &report,
        "libraries",
        "libqpl.so.1",
        "ok",
        &["version 1.8.0"],
    )?;
    check(
        &report,
        "system",
        "shared virtual memory",
        "ok",
        &["scalable mode is on"],
    )?;
    check(
        &report,
        "system",
        "/dev/kvm",
        "unusable",
        &["usermod -a -G kvm"],
    )
}

#[test]
fn each_thing_in_the_way_of_iaa_has_its_advice() -> Result<()> {
    const DEVICE: &str = "sys/devices/pci0000:6a/0000:6a:02.0/iax1";
    const QUEUE: &str = "sys/devices/pci0000:6a/0000:6a:02.0/iax1/wq1.0";
    let none = "no work queue is shared and of type user";
    for (folder, line, words) in [
        (
            DEVICE,
            "pasid_enabled = 0",
            ["shared virtual memory is off", "sm_on"],
        ),
        (
            DEVICE,
            "state = disabled",
            [
                "no work queue is enabled",
                "accel-config enable-device iax1",
            ],
        ),
        (
            QUEUE,
            "mode = dedicated",
            [none, "accel-config disable-device iax1"],
        ),
        (QUEUE, "type = kernel", [none, "-m shared -y user"]),
        (
            QUEUE,
            "state = disabled",
            ["no work queue is enabled", "iax1/wq1.0"],
        ),
        (
            "dev/iax",
            "wq1.0 mode 0600",
            ["may not open /dev/iax", "chown -R USER /dev/iax"],
        ),
    ] {
        let tree = Tree::of("iaa")?;
        tree.set(folder, line)?;
        let name = "IAA iax1 0000:6a:02.0";
        check(&tree.doctor()?, "devices", name, "unusable", &words).context(line)?;
    }
    let report = Tree::of("iaa-not-configured")?.doctor()?;
    let words = [
        "no work queue is enabled",
        "accel-config config-wq iax1/wq1.0",
    ];
    check(
        &report,
        "devices",
        "IAA iax1 0000:6a:02.0",
        "unusable",
        &words,
    )?;
    check(
        &report,
        "libraries",
        "libqpl.so.1",
        "missing",
        &["-DQPL_LIBRARY_TYPE=SHARED"],
    )
}

#[test]
fn an_iommu_without_process_addresses_is_no_help_to_iaa() -> Result<()> {
    let tree = Tree::of("iaa")?;
    tree.set(
        "sys/class/iommu/dmar1/intel-iommu",
        "ecap = 8d2078c106f0462",
    )?;
    tree.set(
        "sys/devices/pci0000:6a/0000:6a:02.0/iax1",
        "pasid_enabled = 0",
    )?;
    let words = ["lacks scalable mode", "qatzip"];
    check(
        &tree.doctor()?,
        "system",
        "shared virtual memory",
        "unusable",
        &words,
    )
}

#[test]
fn a_kunpeng_is_ready_or_told_why_not() -> Result<()> {
    const NAME: &str = "HiSilicon ZIP 0000:75:00.0";
    const OFFER: &str = "sys/devices/pci0000:74/0000:75:00.0/uacce/hisi_zip-0";
    let report = Tree::of("kunpeng")?.doctor()?;
    check(&report, "devices", NAME, "ok", &["256 queues left"])?;
    check(
        &report,
        "libraries",
        "libwd_comp.so.2",
        "ok",
        &["version 2.9.1"],
    )?;
    check(
        &report,
        "system",
        "instructions",
        "ok",
        &["asimd crc32 pmull"],
    )?;
    check(
        &report,
        "system",
        "shared virtual memory",
        "ok",
        &["supported"],
    )?;
    for (folder, line, words) in [
        (OFFER, "flags = 0", ["shared virtual memory is off", "SMMU"]),
        (
            OFFER,
            "available_instances = 0",
            ["all its queues are taken", "end a process"],
        ),
        (OFFER, "isolate = 1", ["isolated it after errors", "dmesg"]),
        (
            OFFER,
            "algorithms = gzip",
            ["does not offer zlib", "kernel"],
        ),
        (
            "dev",
            "hisi_zip-0 mode 0600",
            ["may not open /dev/hisi_zip-0", "chown USER"],
        ),
    ] {
        let tree = Tree::of("kunpeng")?;
        tree.set(folder, line)?;
        check(&tree.doctor()?, "devices", NAME, "unusable", &words).context(line)?;
    }
    let tree = Tree::of("kunpeng")?;
    tree.remove("sys/devices/pci0000:74/0000:75:00.0/uacce")?;
    let words = ["does not offer it to processes", "uacce_mode=1"];
    check(&tree.doctor()?, "devices", NAME, "unusable", &words)
}

/// Of this host the methods themselves are asked.
#[test]
fn a_library_of_this_host_is_loaded() -> Result<()> {
    let doctor = |library: &str| {
        let library = format!("qatzip={library}");
        run(&["doctor", "--json", "--library", &library])?.json(0)
    };
    let device = StandIn::qatzip(&[])?;
    let report = doctor(&device.path().display().to_string())?;
    check(
        &report,
        "methods",
        "qatzip",
        "ok",
        &["hardware (libqatzip.so.3; "],
    )?;
    check(
        &report,
        "libraries",
        "libqatzip.so.3",
        "ok",
        &["loads: hardware"],
    )?;

    let alone = StandIn::qatzip(&["NO_DEVICE"])?;
    let report = doctor(&alone.path().display().to_string())?;
    let words = ["software", "there is no device for it"];
    check(&report, "methods", "qatzip", "ok", &words)?;
    check(
        &report,
        "libraries",
        "libqatzip.so.3",
        "ok",
        &["loads: vendor-software"],
    )?;

    // It begins as a library does, and is none.
    let folder = Folder::new()?;
    let mut head = fs::read(env!("CARGO_BIN_EXE_multifd"))?;
    head.truncate(100);
    let report = doctor(&folder.write("libqatzip.so.3", &head)?)?;
    let words = ["libqatzip.so.3", "libqatzip3"];
    check(&report, "libraries", "libqatzip.so.3", "unusable", &words)
}

/// The real one.
#[test]
fn libqatzip_is_found_and_loaded() -> Result<()> {
    let Some(file) = vendor_library::require("qatzip")? else {
        return Ok(());
    };
    let report = run(&["doctor", "--json", "--library", &format!("qatzip={file}")])?.json(0)?;
    check(
        &report,
        "libraries",
        "libqatzip.so.3",
        "ok",
        &["version 3.", "loads: "],
    )
}

#[test]
fn this_host_is_described_for_humans() -> Result<()> {
    let text = run(&["doctor"])?;
    text.ended(&[0], &[])?;
    for title in ["Methods", "Devices", "Libraries", "System"] {
        assert!(
            text.stdout.lines().any(|line| line == title),
            "{}",
            text.stdout
        );
    }
    for method in METHODS {
        assert!(
            text.stdout.contains(&format!("  {method}: ")),
            "{}",
            text.stdout
        );
    }
    // Of every thing that cannot be used it says what to do.
    let lines: Vec<_> = text.stdout.lines().collect();
    for pair in lines.windows(2) {
        if pair[0].starts_with("  unusable") {
            assert!(pair[1].trim_start().starts_with("do: "), "{pair:?}");
        }
    }
    run(&["doctor", "--root", "/no/such/folder"])?.failed(&[2], &["is not a folder"])?;
    // An empty folder is a host of which nothing is known: all findings, and no failure.
    let empty = Folder::new()?;
    let root = empty.root().display().to_string();
    let report = run(&["doctor", "--json", "--root", &root])?.json(0)?;
    check(&report, "system", "kernel", "ok", &["unknown"])
}
