// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! TLS on the command line, besides QEMU's parameters.

use std::path::PathBuf;

use migration_params::{Parameters, TlsName};

use crate::show::failure::Failure;

/// TLS of a source.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TlsClientArgs {
    /// Encrypt all connections, with the credentials in this folder: short for --set tls-creds
    ///
    /// QEMU's files: ca-cert.pem, optionally ca-crl.pem, and client-cert.pem with client-key.pem if
    /// the destination verifies who connects.
    #[arg(long, value_name = "DIR")]
    tls_dir: Option<PathBuf>,
    /// The name or address that the destination's certificate must have: short for --set
    /// tls-hostname [default: the host of --to]
    #[arg(long, value_name = "NAME")]
    tls_hostname: Option<String>,
}

/// TLS of a destination.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TlsServerArgs {
    /// Accept encrypted connections only, with the credentials in this folder: short for --set
    /// tls-creds
    ///
    /// QEMU's files: ca-cert.pem, optionally ca-crl.pem, server-cert.pem and server-key.pem.
    #[arg(long, value_name = "DIR")]
    tls_dir: Option<PathBuf>,
    /// The subject that the source's certificate must have, such as C=GB,O=Example,CN=source: short
    /// for --set tls-authz [default: any that ca-cert.pem has signed]
    #[arg(long, value_name = "SUBJECT")]
    tls_authz: Option<String>,
    #[command(flatten)]
    pub(crate) peer: TlsPeerArgs,
}

/// Whom a destination or a relay accepts over TLS.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct TlsPeerArgs {
    /// Whether a source needs a certificate that ca-cert.pem has signed: on or off
    ///
    /// If off, anyone who can reach the address may send a guest.
    #[arg(long, value_name = "SWITCH", default_value = "on", value_parser = switch)]
    pub(crate) tls_verify_peer: Switch,
}

/// Something that is on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Switch(pub(crate) bool);

impl TlsClientArgs {
    /// Sets QEMU's parameters for what was given.
    ///
    /// # Errors
    /// A path or a name that no parameter can have.
    pub(crate) fn apply(&self, parameters: &mut Parameters) -> Result<(), Failure> {
        set_folder(parameters, self.tls_dir.as_ref())?;
        match &self.tls_hostname {
            Some(host) => set(
                &mut parameters.tls_hostname,
                "tls-hostname",
                "--tls-hostname",
                host,
            ),
            None => Ok(()),
        }
    }
}

impl TlsServerArgs {
    /// Sets QEMU's parameters for what was given.
    ///
    /// # Errors
    /// A path or a subject that no parameter can have.
    pub(crate) fn apply(&self, parameters: &mut Parameters) -> Result<(), Failure> {
        set_folder(parameters, self.tls_dir.as_ref())?;
        match &self.tls_authz {
            Some(subject) => set(
                &mut parameters.tls_authz,
                "tls-authz",
                "--tls-authz",
                subject,
            ),
            None => Ok(()),
        }
    }
}

fn set_folder(parameters: &mut Parameters, folder: Option<&PathBuf>) -> Result<(), Failure> {
    if let Some(folder) = folder {
        let path = folder.to_str().unwrap_or_default();
        if path.is_empty() {
            return Err(Failure::usage("--tls-dir: wanted a path that is text"));
        }
        set(&mut parameters.tls_creds, "tls-creds", "--tls-dir", path)?;
    }
    Ok(())
}

/// Sets a parameter that may have got its value by its own name.
fn set(parameter: &mut TlsName, name: &str, option: &str, text: &str) -> Result<(), Failure> {
    let wanted =
        TlsName::new(text).map_err(|error| Failure::usage(format!("{option}: {error}")))?;
    if !parameter.is_empty() && *parameter != wanted {
        let what =
            format!("{option} {text:?} contradicts --set {name}={parameter}: give one of them");
        return Err(Failure::usage(what));
    }
    *parameter = wanted;
    Ok(())
}

fn switch(text: &str) -> Result<Switch, String> {
    match text {
        "on" => Ok(Switch(true)),
        "off" => Ok(Switch(false)),
        _ => Err("wanted on or off".into()),
    }
}
