// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What can go wrong in a machine.

/// Why a machine cannot do what it is asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// KVM refused something.
    #[error("KVM: cannot {what}: {error}")]
    Kvm {
        /// What was wanted.
        what: &'static str,
        /// Its answer.
        error: std::io::Error,
    },
    /// The host refused something.
    #[error("cannot {what}: {error}")]
    Host {
        /// What was wanted.
        what: &'static str,
        /// Why not.
        error: std::io::Error,
    },
    /// A machine that cannot be.
    #[error("{0}")]
    Config(String),
    /// A vCPU that cannot run on.
    #[error("vCPU {vcpu}: {what}")]
    Vcpu {
        /// Its number.
        vcpu: usize,
        /// What happened.
        what: String,
    },
    /// Device state that this machine cannot load.
    #[error("device {device}: {what}")]
    State {
        /// The device.
        device: String,
        /// What is wrong with its state.
        what: String,
    },
    /// Memory that cannot be had or migrated.
    #[error("guest memory: {0}")]
    Memory(Box<dyn std::error::Error + Send + Sync>),
    /// The dirty log.
    #[error(transparent)]
    Log(#[from] multifd_kvm::KvmError),
}

impl Error {
    pub(crate) fn kvm(what: &'static str) -> impl Fn(kvm_ioctls::Error) -> Self {
        move |error| Self::Kvm {
            what,
            error: std::io::Error::from_raw_os_error(error.errno()),
        }
    }

    pub(crate) fn host(what: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |error| Self::Host { what, error }
    }

    pub(crate) fn memory(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Memory(error.into())
    }
}
