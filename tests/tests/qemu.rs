// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Migrations to and from a real QEMU's `-machine none`.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use migration_params::{Compression, Parameters, ZeroPageDetection};
use multifd_core::memory::Mapping;
use multifd_core::wire::Uuid;
use multifd_core::{AdaptConfig, ChannelCount, GuestMemory, MultifdMethods, PageSize, RamBlock};
use multifd_migration::dirty::NoWrites;
use multifd_migration::stream::{AnnouncedBlock, Configuration, DeviceSection, Tail};
use multifd_migration::{
    Destination, DestinationConfig, DestinationHost, DirtyLog, HostError, RunState, Source,
    SourceConfig, SourceHost,
};
use multifd_tests::conformance::OnRungs;
use multifd_tests::host::{self, FileHost, accept_all, file_memory};
use multifd_tests::isal;
use multifd_tests::peer::{self, RAM_BLOCK};
use serde_json::{Value, json};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);
const UUID: &str = "12345678-9abc-def0-1234-56789abcdef0";

/// One migration with a QEMU.
struct Case {
    method: Compression,
    channels: u8,
    return_path: bool,
    zero_pages: ZeroPageDetection,
    uuid: Option<&'static str>,
    /// Whether the guest runs at its source, and so at its destination.
    run_state: RunState,
}

const PLAIN: Case = Case {
    method: Compression::None,
    channels: 2,
    return_path: true,
    zero_pages: ZeroPageDetection::Multifd,
    uuid: None,
    run_state: RunState::Running,
};

/// The methods that Debian's QEMU has.
const METHODS: [Compression; 3] = [Compression::None, Compression::Zlib, Compression::Zstd];

#[test]
fn send_each_method() -> Result<()> {
    METHODS.iter().try_for_each(|method| {
        send(&Case {
            method: *method,
            ..PLAIN
        })
    })
}

/// A QEMU need not know how each packet was made.
#[test]
fn send_on_every_rung() -> Result<()> {
    for compression in [Compression::Zlib, Compression::Zstd] {
        let case = Case {
            method: compression,
            ..PLAIN
        };
        let method = host::open(&parameters(&case))?;
        let rungs = (0..method.ladder().len()).collect();
        send_with(&case, Arc::new(OnRungs { method, rungs }), None)?;
        let adapt = Some(AdaptConfig::default());
        send_with(&case, host::open(&parameters(&case))?, adapt)?;
    }
    Ok(())
}

/// Nor which library has compressed.
#[test]
fn send_zlib_with_isal_and_without() -> Result<()> {
    let case = Case {
        method: Compression::Zlib,
        ..PLAIN
    };
    let without = Some("none".to_owned());
    for (library, want) in [(without, "built in"), (isal::library()?, "ISA-L")] {
        let Some(library) = library else {
            continue;
        };
        let options = multifd_migration::method_options(&parameters(&case));
        let method = host::registry()?.open("zlib", &options.with("isal-library", library))?;
        let implementation = method.implementation().to_string();
        ensure!(implementation.contains(want), "{implementation}");
        send_with(&case, method, None)?;
    }
    Ok(())
}

#[test]
fn send_without_a_return_path() -> Result<()> {
    send(&Case {
        return_path: false,
        ..PLAIN
    })
}

#[test]
fn send_over_many_channels() -> Result<()> {
    send(&Case {
        channels: 16,
        method: Compression::Zstd,
        ..PLAIN
    })
}

#[test]
fn send_with_a_uuid() -> Result<()> {
    send(&Case {
        uuid: Some(UUID),
        ..PLAIN
    })
}

#[test]
fn send_a_paused_guest() -> Result<()> {
    send(&Case {
        run_state: RunState::Paused,
        ..PLAIN
    })
}

#[test]
fn send_each_way_of_zero_pages() -> Result<()> {
    for zero_pages in [ZeroPageDetection::None, ZeroPageDetection::Legacy] {
        send(&Case {
            zero_pages,
            ..PLAIN
        })?;
    }
    Ok(())
}

#[test]
fn receive_each_method() -> Result<()> {
    METHODS.iter().try_for_each(|method| {
        receive(&Case {
            method: *method,
            ..PLAIN
        })
    })
}

#[test]
fn receive_without_a_return_path() -> Result<()> {
    receive(&Case {
        return_path: false,
        ..PLAIN
    })
}

#[test]
fn receive_over_many_channels() -> Result<()> {
    receive(&Case {
        channels: 16,
        method: Compression::Zstd,
        ..PLAIN
    })
}

#[test]
fn receive_with_a_uuid() -> Result<()> {
    receive(&Case {
        uuid: Some(UUID),
        ..PLAIN
    })
}

#[test]
fn receive_a_paused_guest() -> Result<()> {
    receive(&Case {
        run_state: RunState::Paused,
        ..PLAIN
    })
}

#[test]
fn receive_each_way_of_zero_pages() -> Result<()> {
    for zero_pages in [ZeroPageDetection::None, ZeroPageDetection::Legacy] {
        receive(&Case {
            zero_pages,
            ..PLAIN
        })?;
    }
    Ok(())
}

#[test]
fn a_refused_migration_leaves_the_qemu_running() -> Result<()> {
    let Some(binary) = peer::require()? else {
        return Ok(());
    };
    let folder = TempDir::new()?;
    let content = recorded_ram()?;
    let [ours, theirs] = ["ours", "theirs"].map(|name| folder.path().join(name));
    fs::write(&ours, vec![0; content.len()])?;
    fs::write(&theirs, &content)?;
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket)?;
    let case = Case {
        method: Compression::Zstd,
        ..PLAIN
    };

    let mut qemu = binary
        .machine()
        .memory_file(&theirs, u64::try_from(content.len())?)
        .start()?;
    prepare(&mut qemu, &case)?;
    // The same channels, another method: the first packet with pages tells.
    let destination = destination(&Case {
        method: Compression::None,
        ..case
    })?;
    let mut host = FileHost::new(file_memory(&[(RAM_BLOCK, &ours)])?);
    let error = thread::scope(|scope| -> Result<_> {
        scope.spawn(|| accept_all(&listener, &destination));
        qemu.migrate(&uri(&socket))?;
        Ok(destination.run(&mut host).expect_err("another method"))
    })?;
    let text = error.to_string();
    ensure!(text.contains("compressed with zstd, wanted none"), "{text}");
    let info = qemu.wait_status(&["failed"], LIMIT);
    ensure!(
        info.is_ok() || format!("{info:?}").contains("failed"),
        "{info:?}"
    );
    let status = qemu.execute("query-status", json!({}))?;
    ensure!(
        status.get("status") != Some(&Value::from("postmigrate")),
        "{status}"
    );
    Ok(())
}

/// A guest that runs, whose source waits for the word that the destination is ready.
#[test]
fn receive_with_switchover_ack() -> Result<()> {
    for acknowledges in [true, false] {
        let Some(received) = receive_running(acknowledges)? else {
            return Ok(());
        };
        match received {
            Ok(report) => ensure!(acknowledges, "it was not waited for: {report:?}"),
            Err(failure) => {
                let text = failure.to_string();
                ensure!(
                    !acknowledges && text.contains("it waits for SWITCHOVER_ACK"),
                    "{text}"
                );
            }
        }
    }
    Ok(())
}

/// Has a QEMU with `switchover-ack` send a guest that runs to a destination that knows of it, or does not.
fn receive_running(
    switchover_ack: bool,
) -> Result<Option<Result<multifd_migration::Report, multifd_migration::DestinationFailure>>> {
    let Some(binary) = peer::require()? else {
        return Ok(None);
    };
    let folder = TempDir::new()?;
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket)?;
    // It runs firmware that finds nothing to boot.
    let machine = binary.machine().machine_type("q35");
    let mut qemu = machine.memory(16 << 20).running().start()?;
    prepare(&mut qemu, &PLAIN)?;
    qemu.set_capabilities(&[("switchover-ack", true)])?;
    let mut config = DestinationConfig::default();
    config.switchover_ack = switchover_ack;
    let destination = Destination::new(config, host::open(&parameters(&PLAIN))?);
    let mut host = Anything;
    let received = thread::scope(|scope| -> Result<_> {
        scope.spawn(|| accept_all(&listener, &destination));
        qemu.migrate(&uri(&socket))?;
        Ok(destination.run(&mut host))
    })?;
    let status = if switchover_ack {
        "completed"
    } else {
        "failed"
    };
    let info = qemu.wait_status(&[status], LIMIT);
    ensure!(
        info.is_ok() || format!("{info:?}").contains(status),
        "{info:?}"
    );
    Ok(Some(received))
}

/// A host that has whatever memory comes.
struct Anything;

impl DestinationHost for Anything {
    fn memory(
        &mut self,
        _configuration: &Configuration,
        blocks: &[AnnouncedBlock],
    ) -> Result<GuestMemory, HostError> {
        let blocks = blocks.iter().map(|block| -> Result<_, HostError> {
            let len = usize::try_from(block.used_length)?;
            let mapping = Mapping::anonymous(len)?;
            Ok(RamBlock::new(block.name.clone(), Arc::new(mapping))?)
        });
        let blocks = blocks.collect::<Result<_, _>>()?;
        Ok(GuestMemory::new(PageSize::X86, blocks)?)
    }

    fn complete(&mut self, _devices: &Tail) -> Result<(), HostError> {
        Ok(())
    }
}

/// Sends the recorded memory into a QEMU and compares what arrived.
fn send(case: &Case) -> Result<()> {
    send_with(case, host::open(&parameters(case))?, None)
}

/// The same, with a method that was opened for it.
fn send_with(
    case: &Case,
    method: Arc<dyn MultifdMethods>,
    adapt: Option<AdaptConfig>,
) -> Result<()> {
    let Some(binary) = peer::require()? else {
        return Ok(());
    };
    let folder = TempDir::new()?;
    let content = recorded_ram()?;
    let [ours, theirs] = ["ours", "theirs"].map(|name| folder.path().join(name));
    fs::write(&ours, &content)?;
    let socket = folder.path().join("socket");

    let mut machine = binary
        .machine()
        .memory_file(&theirs, u64::try_from(content.len())?);
    if let Some(uuid) = case.uuid {
        machine = machine.uuid(uuid);
    }
    // By itself it lets a guest run that has come.
    let mut qemu = machine.incoming_defer().running().start()?;
    prepare(&mut qemu, case)?;
    qemu.migrate_incoming(&uri(&socket))?;

    let mut config = SourceConfig::with_parameters(&parameters(case));
    config.uuid = uuid(case);
    config.adapt = adapt;
    let connections = host::connect(&socket, usize::from(case.channels), case.return_path)?;
    let memory = file_memory(&[(RAM_BLOCK, &ours)])?;
    let source = Source::new(config, memory, method, connections)?;
    let report = source.run(&mut Still(case.run_state, NoWrites))?;

    qemu.wait_status(&["completed"], LIMIT)
        .with_context(|| qemu.stderr())?;
    let run_state = qemu.run_state()?;
    ensure!(run_state == name(case.run_state), "it is {run_state} there");
    ensure!(
        fs::read(&theirs)? == content,
        "the QEMU's memory differs from what was sent"
    );
    check_pages(case, &report, &content)
}

/// Has a QEMU send the recorded memory to us and compares what arrived.
fn receive(case: &Case) -> Result<()> {
    let Some(binary) = peer::require()? else {
        return Ok(());
    };
    let folder = TempDir::new()?;
    let content = recorded_ram()?;
    let [ours, theirs] = ["ours", "theirs"].map(|name| folder.path().join(name));
    fs::write(&ours, vec![0; content.len()])?;
    fs::write(&theirs, &content)?;
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket)?;

    let mut machine = binary
        .machine()
        .memory_file(&theirs, u64::try_from(content.len())?);
    if let Some(uuid) = case.uuid {
        machine = machine.uuid(uuid);
    }
    if case.run_state == RunState::Running {
        machine = machine.running();
    }
    let mut qemu = machine.start()?;
    prepare(&mut qemu, case)?;
    let destination = destination(case)?;
    let mut host = FileHost::new(file_memory(&[(RAM_BLOCK, &ours)])?);
    let report = thread::scope(|scope| -> Result<_> {
        let accept = scope.spawn(|| accept_all(&listener, &destination));
        qemu.migrate(&uri(&socket))?;
        accept.join().map_err(|_| anyhow!("accepting panicked"))??;
        Ok(destination.run(&mut host)?)
    })?;

    let info = qemu.wait_status(&["completed"], LIMIT)?;
    ensure!(
        fs::read(&ours)? == content,
        "our memory differs from the QEMU's"
    );
    ensure!(host.machine.as_deref() == Some("none"));
    ensure!(report.run_state == Some(case.run_state), "{report:?}");
    let devices = host.devices.context("no device state")?;
    let sections = devices
        .sections
        .context("the end was not found by a walk")?;
    let names: Vec<_> = sections
        .iter()
        .map(|section| section.idstr.as_str())
        .collect();
    ensure!(names == ["timer", "globalstate"], "{names:?}");
    let multifd_bytes = info.pointer("/ram/multifd-bytes").and_then(Value::as_u64);
    ensure!(
        multifd_bytes == Some(report.channels.total().wire_bytes),
        "{info}"
    );
    check_pages(case, &report, &content)
}

/// A guest that writes nothing, whether it runs or not.
struct Still(RunState, NoWrites);

impl SourceHost for Still {
    fn dirty_log(&mut self) -> &mut dyn DirtyLog {
        &mut self.1
    }

    fn run_state(&mut self) -> RunState {
        self.0
    }

    fn pause(&mut self) -> Result<(), HostError> {
        Ok(())
    }

    fn resume(&mut self) {}

    fn save_devices(&mut self) -> Result<Vec<DeviceSection>, HostError> {
        Ok(Vec::new())
    }
}

/// QEMU's word.
fn name(run_state: RunState) -> &'static str {
    match run_state {
        RunState::Running => "running",
        RunState::Paused => "paused",
    }
}

/// Each page went over the channels once, as a normal or as a zero page; with `legacy` the zero
/// pages went elsewhere.
fn check_pages(case: &Case, report: &multifd_migration::Report, content: &[u8]) -> Result<()> {
    let pages = content.chunks(4096);
    let zero = pages
        .clone()
        .filter(|page| page.iter().all(|byte| *byte == 0))
        .count() as u64;
    let all = pages.count() as u64;
    let (want_normal, want_zero) = match case.zero_pages {
        ZeroPageDetection::Multifd => (all - zero, zero),
        ZeroPageDetection::Legacy => (all - zero, 0),
        ZeroPageDetection::None => (all, 0),
        other => bail!("no case of {}", other.name()),
    };
    let total = report.channels.total();
    ensure!(
        (total.normal_pages, total.zero_pages) == (want_normal, want_zero),
        "{total:?}"
    );
    Ok(())
}

fn prepare(qemu: &mut peer::Qemu, case: &Case) -> Result<()> {
    qemu.set_capabilities(&[("multifd", true), ("return-path", case.return_path)])?;
    qemu.set_parameters(json!({
        "multifd-channels": case.channels,
        "multifd-compression": case.method.name(),
        "zero-page-detection": case.zero_pages.name(),
    }))
}

fn parameters(case: &Case) -> Parameters {
    Parameters {
        multifd_compression: case.method,
        zero_page_detection: case.zero_pages,
        ..Parameters::default()
    }
}

fn destination(case: &Case) -> Result<Destination> {
    let mut config = DestinationConfig::default();
    config.receiver.channels = ChannelCount::new(case.channels).context("no channels")?;
    config.receiver.uuid = Some(uuid(case));
    Ok(Destination::new(config, host::open(&parameters(case))?))
}

fn uuid(case: &Case) -> Uuid {
    case.uuid.and_then(Uuid::parse).unwrap_or_default()
}

fn uri(socket: &Path) -> String {
    format!("unix:{}", socket.display())
}

fn recorded_ram() -> Result<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/ram.bin");
    Ok(fs::read(path)?)
}
