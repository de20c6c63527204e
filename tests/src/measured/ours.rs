// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A migration between two processes of ours: this program again, in another role.

use std::env;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::certificates::Credentials;
use crate::host::{self, FileHost, accept_all_as, file_memory};
use crate::libqpl;
use anyhow::{Context, Result, bail, ensure};
use migration_params::{Compression, Parameters};
use multifd_core::method::Accelerator;
use multifd_core::{ChannelCount, MultifdMethods};
use multifd_migration::{Connections, Destination, DestinationConfig, Source, SourceConfig};
use multifd_tls::{Client, Server, ServerOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::case::{Case, HOST, Run, own_cpu_time};

/// Where a process of ours finds what it has to do.
const ROLE: &str = "COMPARE_QEMU_ROLE";

/// Of a handshake.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs a migration of this case between two processes.
///
/// # Errors
/// A process that cannot be started, and the migration's.
pub fn run(case: &Case<'_>) -> Result<Run> {
    let folder = TempDir::new()?;
    let socket = folder.path().join("socket");
    let (mut destination, mut received) =
        start("destination", case, &case.arena.destination, &socket)?;
    ensure!(
        line(&mut received)? == json!("listening"),
        "the destination does not listen"
    );
    let (mut source, mut sent) = start("source", case, &case.arena.source, &socket)?;
    let (sent, received) = (line(&mut sent)?, line(&mut received)?);
    ensure!(
        source.wait()?.success() && destination.wait()?.success(),
        "a side failed"
    );
    let micros = |value: &Value, name: &str| {
        let micros = value
            .get(name)
            .and_then(Value::as_u64)
            .context("a side's result")?;
        Ok::<_, anyhow::Error>(Duration::from_micros(micros))
    };
    Ok(Run {
        wall: micros(&sent, "wall")?,
        send_cpu: micros(&sent, "cpu")?,
        recv_cpu: micros(&received, "cpu")?,
        bytes: sent
            .get("bytes")
            .and_then(Value::as_u64)
            .context("the source's result")?,
    })
}

fn start(
    role: &str,
    case: &Case<'_>,
    memory: &Path,
    socket: &Path,
) -> Result<(Child, BufReader<std::process::ChildStdout>)> {
    let method = case.method.name();
    let tls = case.tls.map(Credentials::path);
    let role = json!([
        role,
        memory,
        socket,
        method,
        case.channels,
        case.libqpl,
        tls
    ]);
    let program = env::current_exe()?;
    let mut command = match case.libqpl.and_then(libqpl::loader) {
        Some(loader) => libqpl::command(&loader, &program),
        None => Command::new(program),
    };
    let mut child = command
        .env(ROLE, role.to_string())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().context("no output")?;
    Ok((child, BufReader::new(output)))
}

fn line(output: &mut impl BufRead) -> Result<Value> {
    let mut line = String::new();
    output.read_line(&mut line)?;
    ensure!(!line.is_empty(), "a side ended without a result");
    Ok(serde_json::from_str(&line)?)
}

/// One side, as a process of its own.
pub struct Role {
    is_source: bool,
    memory: PathBuf,
    socket: PathBuf,
    parameters: Parameters,
    channels: ChannelCount,
    libqpl: Option<String>,
    tls: Option<PathBuf>,
}

/// A role as it is handed over: which one, memory, socket, method, channels, libqpl, certificates.
type Handed = (
    String,
    PathBuf,
    PathBuf,
    String,
    u8,
    Option<String>,
    Option<PathBuf>,
);

impl Role {
    /// The role that this process was started for, if any.
    ///
    /// # Errors
    /// It is none of ours.
    pub fn from_arguments() -> Result<Option<Self>> {
        let Ok(role) = env::var(ROLE) else {
            return Ok(None);
        };
        let (role, memory, socket, method, channels, libqpl, tls): Handed =
            serde_json::from_str(&role)?;
        let method: Compression = method.parse()?;
        Ok(Some(Self {
            is_source: role == "source",
            memory,
            socket,
            parameters: Parameters {
                multifd_compression: method,
                ..Parameters::default()
            },
            channels: ChannelCount::new(channels).context("no channels")?,
            libqpl,
            tls,
        }))
    }

    /// Without a libqpl no device is used, either.
    fn open(&self) -> Result<Arc<dyn MultifdMethods>> {
        let mut options = multifd_migration::method_options(&self.parameters);
        options.set(Accelerator::OPTION, Accelerator::Software);
        if let Some(path) = &self.libqpl {
            options.set(Accelerator::OPTION, Accelerator::Library);
            options.set("qpl-library", path);
        }
        let name = self.parameters.multifd_compression.name();
        Ok(host::registry()?.open(name, &options)?)
    }

    /// Plays it, and prints what it took.
    ///
    /// # Errors
    /// The migration's.
    pub fn run(self) -> Result<()> {
        let report = if self.is_source {
            self.send()?
        } else {
            self.receive()?
        };
        let result = json!({
            "wall": u64::try_from(report.total_time.as_micros())?,
            "cpu": u64::try_from(own_cpu_time()?.as_micros())?,
            "bytes": report.transferred(),
        });
        println!("{result}");
        Ok(())
    }

    fn send(&self) -> Result<multifd_migration::Report> {
        let memory = file_memory(&[("ram", &self.memory)])?;
        let mut config = SourceConfig::with_parameters(&self.parameters);
        config.tuning.max_bandwidth = None;
        let method = self.open()?;
        let connections = self.connect()?;
        Ok(Source::new(config, memory, method, connections)?.run_stopped()?)
    }

    fn connect(&self) -> Result<Connections> {
        let channels = self.channels.count();
        let Some(folder) = &self.tls else {
            return host::connect(&self.socket, channels, true);
        };
        let client = Client::from_dir(folder, HOST)?;
        let plain = host::connect(&self.socket, channels, false)?;
        let main = client.connect(plain.main, LIMIT)?;
        let channel = |plain| client.connect_later(plain, LIMIT);
        let channels = plain.channels.into_iter().map(channel).collect();
        Ok(Connections::new(main, channels)?)
    }

    fn receive(&self) -> Result<multifd_migration::Report> {
        let memory = file_memory(&[("ram", &self.memory)])?;
        let mut config = DestinationConfig::default();
        config.receiver.channels = self.channels;
        config.receiver.memory_is_zeroed = true;
        let destination = Destination::new(config, self.open()?);
        let options = ServerOptions::default();
        let server = self.tls.as_ref();
        let server = server.map(|folder| Server::from_dir(folder, &options));
        let server = server.transpose()?;
        let session = |plain| match &server {
            Some(server) => server.accept_later(plain, LIMIT),
            None => plain,
        };
        let listener = UnixListener::bind(&self.socket)?;
        println!("{}", json!("listening"));
        let report = thread::scope(|scope| {
            scope.spawn(|| accept_all_as(&listener, &destination, session));
            destination.run(&mut FileHost::new(memory))
        });
        match report {
            Ok(report) => Ok(report),
            Err(error) => bail!(error),
        }
    }
}
