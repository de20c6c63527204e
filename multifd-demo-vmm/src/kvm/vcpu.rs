// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A vCPU of KVM.

use std::sync::Arc;

use kvm_ioctls::{Kvm, VcpuExit, VcpuFd};
use multifd_kvm::{EXIT_DIRTY_RING_FULL, RingCollector};

use super::state;
use crate::devices::Ports;
use crate::vcpu::{Exit, Vcpu};
use crate::{Error, Memory};

pub(super) struct KvmVcpu {
    pub(super) number: usize,
    pub(super) fd: VcpuFd,
    pub(super) kvm: Arc<Kvm>,
    pub(super) ring: Option<RingCollector>,
    /// Mapped for as long as the guest can run.
    pub(super) _memory: Memory,
}

impl KvmVcpu {
    fn stopped(&self, what: String) -> Error {
        Error::Vcpu {
            vcpu: self.number,
            what,
        }
    }
}

impl Vcpu for KvmVcpu {
    fn run(&mut self, ports: &Ports) -> Result<Exit, Error> {
        let vcpu = self.number;
        let what = match self.fd.run() {
            Ok(VcpuExit::IoIn(port, data)) => {
                let idle = ports.read(vcpu, port, data)?;
                return Ok(if idle { Exit::Idle } else { Exit::Again });
            }
            Ok(VcpuExit::IoOut(port, data)) => {
                ports.write(vcpu, port, data);
                return Ok(Exit::Again);
            }
            Ok(VcpuExit::Hlt) => return Ok(Exit::Halted),
            Ok(VcpuExit::Intr) => return Ok(Exit::Again),
            Ok(VcpuExit::Unsupported(EXIT_DIRTY_RING_FULL)) => {
                if let Some(ring) = &self.ring {
                    ring.collect()?;
                }
                return Ok(Exit::Again);
            }
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {
                return Ok(Exit::Again);
            }
            Ok(exit) => format!("{exit:?}"),
            Err(error) => error.to_string(),
        };
        Err(self.stopped(what))
    }

    fn settle(&mut self) -> Result<(), Error> {
        // KVM ends what an exit has begun when the vCPU is run again, and then sees that it must not.
        self.fd.set_kvm_immediate_exit(1);
        let what = match self.fd.run() {
            Err(error) if error.errno() == libc::EINTR => None,
            Ok(exit) => Some(format!("{exit:?}")),
            Err(error) => Some(error.to_string()),
        };
        self.fd.set_kvm_immediate_exit(0);
        match what {
            None => Ok(()),
            Some(what) => Err(self.stopped(what)),
        }
    }

    fn save(&self) -> Result<Vec<u8>, Error> {
        state::save(&self.kvm, &self.fd)
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), Error> {
        state::load(&self.fd, bytes)
    }
}
