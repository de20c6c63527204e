// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The rules that parameters and capabilities alone can break.

use super::verdict::{Named, Verdict, excludes, needs, refuse_if};
use crate::settings::Settings;
use crate::table::capabilities::Capabilities;
use crate::table::error::ParamError;
use crate::table::parameters::Parameters;
use crate::values::choice::Compression;

/// `max-cpu-throttle` is no less than `cpu-throttle-initial`: throttling only grows.
pub fn max_cpu_throttle_covers_initial(parameters: &Parameters) -> Verdict {
    let initial = parameters.cpu_throttle_initial;
    if parameters.max_cpu_throttle >= initial {
        return Ok(());
    }
    Err(ParamError::Conflict {
        message: "Parameter 'max_cpu_throttle' expects an integer in the range of \
                  cpu_throttle_initial to 99",
        name: "max-cpu-throttle",
        given: parameters.max_cpu_throttle.to_string(),
        allowed: format!("at least cpu-throttle-initial, which is {initial}"),
    })
}

/// Not `multifd` with `xbzrle`: XBZRLE's differences need one ordered stream and one cache.
pub fn multifd_excludes_xbzrle(on: &Capabilities) -> Verdict {
    let message = "Multifd is not compatible with xbzrle";
    excludes(("multifd", on.multifd), ("xbzrle", on.xbzrle), message)
}

/// Not `background-snapshot` with `multifd`: write-protected pages are saved in one ordered stream.
pub fn background_snapshot_excludes_multifd(on: &Capabilities) -> Verdict {
    let message = "Background-snapshot is not compatible with multifd";
    let snapshot = ("background-snapshot", on.background_snapshot);
    excludes(snapshot, ("multifd", on.multifd), message)
}

/// `zero-copy-send` needs `multifd`: only its channels send guest pages straight to a socket.
pub fn zero_copy_needs_multifd(on: &Capabilities) -> Verdict {
    let zero_copy = ("zero-copy-send", on.zero_copy_send);
    needs(zero_copy, ("multifd", on.multifd), ZERO_COPY)
}

/// Not `zero-copy-send` with `xbzrle`: what is sent must be the guest's page itself.
pub fn zero_copy_excludes_xbzrle(on: &Capabilities) -> Verdict {
    let zero_copy = ("zero-copy-send", on.zero_copy_send);
    excludes(zero_copy, ("xbzrle", on.xbzrle), ZERO_COPY)
}

/// Not `mapped-ram` with `xbzrle`: a page's place in the file holds the page, not a difference.
pub fn mapped_ram_excludes_xbzrle(on: &Capabilities) -> Verdict {
    let message = "Mapped-ram migration is incompatible with xbzrle";
    let mapped_ram = ("mapped-ram", on.mapped_ram);
    excludes(mapped_ram, ("xbzrle", on.xbzrle), message)
}

/// Not `mapped-ram` with `postcopy-ram`: a file answers no page requests.
pub fn mapped_ram_excludes_postcopy(on: &Capabilities) -> Verdict {
    let message = "Mapped-ram migration is incompatible with postcopy";
    let mapped_ram = ("mapped-ram", on.mapped_ram);
    excludes(mapped_ram, ("postcopy-ram", on.postcopy_ram), message)
}

/// Not `postcopy-ram` with `x-ignore-shared`: shared memory cannot be filled page by page on demand.
pub fn postcopy_excludes_ignore_shared(on: &Capabilities) -> Verdict {
    let message = "Postcopy is not compatible with ignore-shared";
    let postcopy = ("postcopy-ram", on.postcopy_ram);
    excludes(postcopy, ("x-ignore-shared", on.x_ignore_shared), message)
}

/// `postcopy-preempt` needs `postcopy-ram`, whose requested pages its channel carries.
pub fn postcopy_preempt_needs_postcopy(on: &Capabilities) -> Verdict {
    let message = "Postcopy preempt requires postcopy-ram";
    let preempt = ("postcopy-preempt", on.postcopy_preempt);
    needs(preempt, ("postcopy-ram", on.postcopy_ram), message)
}

/// `switchover-ack` needs `return-path`, on which the acknowledgement comes.
pub fn switchover_ack_needs_return_path(on: &Capabilities) -> Verdict {
    let message = "Capability 'switchover-ack' requires capability 'return-path'";
    let ack = ("switchover-ack", on.switchover_ack);
    needs(ack, ("return-path", on.return_path), message)
}

/// Not `dirty-limit` with `auto-converge`: each throttles the vCPUs in its own way.
pub fn dirty_limit_excludes_auto_converge(on: &Capabilities) -> Verdict {
    let message = "dirty-limit conflicts with auto-converge";
    let dirty_limit = ("dirty-limit", on.dirty_limit);
    excludes(dirty_limit, ("auto-converge", on.auto_converge), message)
}

/// Not `multifd-compression` with `zero-copy-send`: compressed pages are copies.
pub fn zero_copy_excludes_compression(settings: &Settings) -> Verdict {
    let zero_copy = settings.capabilities.zero_copy_send;
    excludes_compression(("zero-copy-send", zero_copy), settings, ZERO_COPY)
}

/// Not `tls-creds` with `zero-copy-send`: encrypted pages are copies.
pub fn zero_copy_excludes_tls(settings: &Settings) -> Verdict {
    let zero_copy = settings.capabilities.zero_copy_send;
    excludes_tls(("zero-copy-send", zero_copy), settings, ZERO_COPY)
}

/// Not `multifd-compression` with `mapped-ram`: a page's place in the file has the size of a page.
pub fn mapped_ram_excludes_compression(settings: &Settings) -> Verdict {
    let message = "Cannot use compression with mapped-ram";
    let mapped_ram = settings.capabilities.mapped_ram;
    excludes_compression(("mapped-ram", mapped_ram), settings, message)
}

/// Not `tls-creds` with `mapped-ram`: TLS is a stream and a file is written at any offset.
pub fn mapped_ram_excludes_tls(settings: &Settings) -> Verdict {
    let message = "Cannot use TLS with mapped-ram";
    let mapped_ram = settings.capabilities.mapped_ram;
    excludes_tls(("mapped-ram", mapped_ram), settings, message)
}

/// The rules among parameters.
pub(crate) fn check_parameters(parameters: &Parameters) -> Verdict {
    max_cpu_throttle_covers_initial(parameters)
}

/// The rules among capabilities.
pub(crate) fn check_capabilities(capabilities: &Capabilities) -> Verdict {
    [
        multifd_excludes_xbzrle,
        background_snapshot_excludes_multifd,
        zero_copy_needs_multifd,
        zero_copy_excludes_xbzrle,
        mapped_ram_excludes_xbzrle,
        mapped_ram_excludes_postcopy,
        postcopy_excludes_ignore_shared,
        postcopy_preempt_needs_postcopy,
        switchover_ack_needs_return_path,
        dirty_limit_excludes_auto_converge,
    ]
    .into_iter()
    .try_for_each(|rule: fn(&Capabilities) -> Verdict| rule(capabilities))
}

/// Every rule that the settings alone can break.
pub(crate) fn check_settings(settings: &Settings) -> Verdict {
    check_parameters(&settings.parameters)?;
    check_capabilities(&settings.capabilities)?;
    [
        zero_copy_excludes_compression,
        zero_copy_excludes_tls,
        mapped_ram_excludes_compression,
        mapped_ram_excludes_tls,
    ]
    .into_iter()
    .try_for_each(|rule: fn(&Settings) -> Verdict| rule(settings))
}

fn excludes_compression(this: Named, settings: &Settings, message: &'static str) -> Verdict {
    let compression = settings.parameters.multifd_compression;
    let broken = this.1 && compression != Compression::None;
    let given = compression.name();
    refuse_if(broken, message, "multifd-compression", given, || {
        format!("none while {} is on", this.0)
    })
}

fn excludes_tls(this: Named, settings: &Settings, message: &'static str) -> Verdict {
    let credentials = &settings.parameters.tls_creds;
    let broken = this.1 && !credentials.is_empty();
    refuse_if(broken, message, "tls-creds", credentials.as_str(), || {
        format!("an empty name while {} is on", this.0)
    })
}

const ZERO_COPY: &str = "Zero copy only available for non-compressed non-TLS multifd migration";
