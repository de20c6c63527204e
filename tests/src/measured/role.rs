// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! One side of a migration, as a process of its own.

use std::env;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use migration_params::{Compression, Parameters};
use multifd_core::method::Accelerator;
use multifd_core::{AdaptConfig, ChannelCount, GuestMemory, MultifdMethods};
use multifd_deflate::Isal;
use multifd_migration::{
    Connections, Destination, DestinationConfig, Report, Source, SourceConfig, SourceHandle,
};
use multifd_tls::{Client, Server, ServerOptions};
use serde::{Deserialize, Serialize};

use super::bare;
use super::case::{HOST, Sample, micros, own_cpu_time};
use crate::host::{self, FileHost, accept_all_as, accept_all_tcp, file_memory};

/// Where a process of ours finds what it has to do.
pub(super) const VARIABLE: &str = "MULTIFD_MEASURED_ROLE";

/// One side, as a process of its own.
#[derive(Debug, Serialize, Deserialize)]
pub struct Role {
    pub(super) is_source: bool,
    pub(super) bare: bool,
    pub(super) memory: PathBuf,
    pub(super) blocks: usize,
    pub(super) address: Address,
    pub(super) method: String,
    pub(super) level: Option<u8>,
    pub(super) adapt: bool,
    pub(super) channels: u8,
    pub(super) libqpl: Option<String>,
    pub(super) isal: Option<String>,
    pub(super) tls: Option<PathBuf>,
}

/// Where the destination listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// What a side has to say in the end. Times are microseconds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Played {
    pub(super) wall: u64,
    pub(super) cpu: u64,
    pub(super) bytes: u64,
    pub(super) samples: Vec<Sample>,
    pub(super) rungs: Vec<(String, u64)>,
}

impl Played {
    fn new(report: &Report) -> Result<Self> {
        Ok(Self {
            wall: u64::try_from(report.total_time.as_micros())?,
            cpu: u64::try_from(own_cpu_time()?.as_micros())?,
            bytes: report.transferred(),
            samples: Vec::new(),
            rungs: Vec::new(),
        })
    }
}

impl Role {
    /// The role that this process was started for, if any.
    ///
    /// # Errors
    /// It is none of ours.
    pub fn from_arguments() -> Result<Option<Self>> {
        let Ok(role) = env::var(VARIABLE) else {
            return Ok(None);
        };
        Ok(Some(serde_json::from_str(&role)?))
    }

    /// Plays it, and prints what it took.
    ///
    /// # Errors
    /// The migration's.
    pub fn run(self) -> Result<()> {
        let parameters = self.parameters()?;
        let method = self.open(&parameters)?;
        let played = match self.is_source {
            _ if self.bare => self.play_bare()?,
            true => self.send(&parameters, method)?,
            false => Played::new(&self.receive(method)?)?,
        };
        println!("{}", serde_json::to_string(&played)?);
        Ok(())
    }

    fn parameters(&self) -> Result<Parameters> {
        let method: Compression = self.method.parse()?;
        let mut parameters = Parameters {
            multifd_compression: method,
            ..Parameters::default()
        };
        match (method, self.level) {
            (_, None) => {}
            (Compression::Zstd, Some(level)) => {
                parameters.multifd_zstd_level = level.try_into()?;
            }
            (method, Some(level)) => bail!("{method} with level {level}: only zstd has one here"),
        }
        Ok(parameters)
    }

    /// Without a libqpl no device is used, either.
    fn open(&self, parameters: &Parameters) -> Result<Arc<dyn MultifdMethods>> {
        let mut options = multifd_migration::method_options(parameters);
        options.set(Accelerator::OPTION, Accelerator::Software);
        options.set(Isal::OPTION, self.isal.as_deref().unwrap_or("none"));
        if let Some(path) = &self.libqpl {
            options.set(Accelerator::OPTION, Accelerator::Library);
            options.set("qpl-library", path);
        }
        Ok(host::registry()?.open(&self.method, &options)?)
    }

    fn play_bare(&self) -> Result<Played> {
        let Address::Unix(path) = &self.address else {
            bail!("system calls alone go over unix sockets");
        };
        let memory = self.memory()?;
        let block = memory.blocks().first().context("no memory")?;
        let channels = usize::from(self.channels);
        let taken = if self.is_source {
            bare::send(block, path, channels)?
        } else {
            let listener = UnixListener::bind(path)?;
            println!("{}", serde_json::to_string(&self.address)?);
            bare::receive(block, &listener, channels)?
        };
        Ok(Played {
            wall: u64::try_from(taken.wall.as_micros())?,
            cpu: u64::try_from(taken.cpu.as_micros())?,
            bytes: taken.bytes,
            samples: Vec::new(),
            rungs: Vec::new(),
        })
    }

    fn memory(&self) -> Result<GuestMemory> {
        let names: Vec<String> = (1..self.blocks)
            .map(|number| format!("ram{number}"))
            .collect();
        let names = ["ram"].into_iter().chain(names.iter().map(String::as_str));
        let blocks: Vec<_> = names.map(|name| (name, &*self.memory)).collect();
        file_memory(&blocks)
    }

    fn send(&self, parameters: &Parameters, method: Arc<dyn MultifdMethods>) -> Result<Played> {
        let mut config = SourceConfig::with_parameters(parameters);
        config.tuning.max_bandwidth = None;
        config.adapt = self.adapt.then(AdaptConfig::default);
        let connections = self.connect()?;
        let source = Source::new(config, self.memory()?, method, connections)?;
        let handle = source.handle();
        let (over, is_over) = mpsc::channel();
        let (report, samples) = thread::scope(|scope| {
            let handle = &handle;
            let watch = scope.spawn(move || watch(handle, &is_over));
            let report = source.run_stopped();
            drop(over);
            (report, watch.join())
        });
        let samples = samples.map_err(|_| anyhow!("the watch panicked"))??;
        let total = handle.stats().total();
        let rungs = total.rungs().filter(|rung| rung.packets > 0);
        let rungs = rungs.map(|rung| (rung.name.to_owned(), rung.guest_bytes));
        Ok(Played {
            samples,
            rungs: rungs.collect(),
            ..Played::new(&report?)?
        })
    }

    fn connect(&self) -> Result<Connections> {
        let channels = usize::from(self.channels);
        let path = match (&self.address, &self.tls) {
            (Address::Tcp(address), None) => return host::connect_tcp(*address, channels, true),
            (Address::Unix(path), None) => return host::connect(path, channels, true),
            (Address::Tcp(address), Some(_)) => bail!("TLS to {address}: only to unix sockets"),
            (Address::Unix(path), Some(_)) => path,
        };
        let folder = self.tls.as_ref().context("no certificates")?;
        let client = Client::from_dir(folder, HOST)?;
        let plain = host::connect(path, channels, false)?;
        let main = client.connect(plain.main, LIMIT)?;
        let channel = |plain| client.connect_later(plain, LIMIT);
        let channels = plain.channels.into_iter().map(channel).collect();
        Ok(Connections::new(main, channels)?)
    }

    fn receive(&self, method: Arc<dyn MultifdMethods>) -> Result<Report> {
        let mut config = DestinationConfig::default();
        config.receiver.channels = ChannelCount::new(self.channels).context("no channels")?;
        config.receiver.memory_is_zeroed = true;
        let destination = Destination::new(config, method);
        let options = ServerOptions::default();
        let server = self.tls.as_ref();
        let server = server.map(|folder| Server::from_dir(folder, &options));
        let server = server.transpose()?;
        let session = |plain| match &server {
            Some(server) => server.accept_later(plain, LIMIT),
            None => plain,
        };
        let listener = Listener::bind(&self.address)?;
        println!("{}", serde_json::to_string(&listener.address()?)?);
        let memory = self.memory()?;
        let report = thread::scope(|scope| {
            scope.spawn(|| match &listener {
                Listener::Unix(listener, _) => accept_all_as(listener, &destination, session),
                Listener::Tcp(listener) => accept_all_tcp(listener, &destination),
            });
            destination.run(&mut FileHost::new(memory))
        });
        match report {
            Ok(report) => Ok(report),
            Err(error) => bail!(error),
        }
    }
}

enum Listener<'a> {
    Unix(UnixListener, &'a PathBuf),
    Tcp(TcpListener),
}

impl<'a> Listener<'a> {
    fn bind(address: &'a Address) -> Result<Self> {
        Ok(match address {
            Address::Unix(path) => Self::Unix(UnixListener::bind(path)?, path),
            Address::Tcp(address) => Self::Tcp(TcpListener::bind(address)?),
        })
    }

    /// With the port that the system has chosen.
    fn address(&self) -> Result<Address> {
        Ok(match self {
            Self::Unix(_, path) => Address::Unix(path.to_path_buf()),
            Self::Tcp(listener) => Address::Tcp(listener.local_addr()?),
        })
    }
}

/// Notes how far a migration is until it is over.
fn watch(source: &SourceHandle, over: &Receiver<()>) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    while over.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
        samples.push(Sample {
            at: micros()?,
            guest_bytes: source.info().ram.normal_bytes,
        });
    }
    Ok(samples)
}

const EVERY: Duration = Duration::from_millis(10);
/// Of a handshake.
const LIMIT: Duration = Duration::from_secs(30);
