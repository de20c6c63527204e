// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! QEMUs with credentials.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use multifd_tests::certificates::{Authority, Credentials, Role};
use multifd_tests::command::{Finished, Running};
use multifd_tests::interop::steps::{LIMIT, Link, migrate_again};
use multifd_tests::interop::{self, Age, Lab};
use multifd_tests::peer::{Builder, Qemu, RAM_BLOCK};
use rcgen::CertificateParams;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The QEMUs that these tests are run with.
const PEERS: &[Age] = &[Age::Current, Age::New];

/// Where everybody listens, and so what certificates are for.
pub(crate) const HOST: &str = "127.0.0.1";

/// What a test has, with one QEMU.
pub(crate) struct Rig {
    pub(crate) lab: Lab,
    pub(crate) age: Age,
    pub(crate) authority: Authority,
    folder: TempDir,
}

/// Runs `test` with each QEMU, if there is one.
pub(crate) fn with_each(test: impl Fn(&Rig) -> Result<()>) -> Result<()> {
    let Some(lab) = interop::require()? else {
        return Ok(());
    };
    for &age in PEERS {
        if lab.has(age)? {
            let rig = Rig::new(lab.clone(), age)?;
            test(&rig).with_context(|| format!("QEMU {}", lab.version(age)))?;
        }
    }
    Ok(())
}

impl Rig {
    pub(crate) fn new(lab: Lab, age: Age) -> Result<Self> {
        Ok(Self {
            lab,
            age,
            authority: Authority::new("authority")?,
            folder: TempDir::with_prefix("multifd-tls-")?,
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A machine of memory that is a file of this content.
    pub(crate) fn machine(&self, name: &str, content: &[u8]) -> Result<Builder> {
        let path = self.path(name);
        fs::write(&path, content)?;
        let machine = self.lab.qemu(self.age).machine();
        Ok(machine.memory_file(path, u64::try_from(content.len())?))
    }

    /// Sets a QEMU up, with parameters beside those of the link.
    pub(crate) fn prepare(&self, qemu: &mut Qemu, link: Link, more: Value) -> Result<()> {
        link.prepare(qemu, self.age)?;
        qemu.set_parameters(more)
    }

    /// Starts a destination of the command's, with `--ram new`, and answers where it listens.
    pub(crate) fn recv(&self, link: Link, more: &[&str]) -> Result<(Running, String)> {
        let ram = format!("{RAM_BLOCK}={}", self.path("new").display());
        let mut args = vec!["recv", "--from", "tcp:127.0.0.1:0", "--ram", &ram];
        let link = link.args();
        args.extend(link.iter().map(String::as_str).chain(more.iter().copied()));
        let mut running = self.lab.multifd().start(args)?;
        let address = running.wait_address()?;
        Ok((running, address))
    }

    /// Has the command send the file `source`.
    pub(crate) fn send(&self, link: Link, to: &str, more: &[&str]) -> Result<Finished> {
        let ram = format!("{RAM_BLOCK}={}", self.path("source").display());
        let mut args = vec!["send", "--to", to, "--ram", &ram];
        let link = link.args();
        args.extend(link.iter().map(String::as_str).chain(more.iter().copied()));
        self.lab.multifd().start(args)?.finish()
    }
}

/// Has a QEMU listen; answers where.
pub(crate) fn listen(qemu: &mut Qemu) -> Result<String> {
    qemu.migrate_incoming("tcp:127.0.0.1:0")?;
    let info = qemu.query_migrate()?;
    let port = info.pointer("/socket-address/0/port");
    let port = port.and_then(Value::as_str).context("no address")?;
    Ok(format!("tcp:127.0.0.1:{port}"))
}

/// Has a QEMU send; answers why it has failed.
pub(crate) fn fail_to_send(qemu: &mut Qemu, to: &str) -> Result<String> {
    migrate_again(qemu, to)?;
    let info = qemu.wait_status(&["failed"], LIMIT)?;
    let reason = info.get("error-desc").and_then(Value::as_str);
    Ok(reason.unwrap_or_default().to_owned())
}

/// The argument for credentials with an id of their own, which a QEMU does not look at before it uses them.
pub(crate) fn object(id: &str, credentials: &Credentials, role: Role) -> [String; 2] {
    let object = credentials.object(role, true);
    let object = object.replace("id=tls0", &format!("id={id}"));
    ["-object".into(), format!("{object},sanity-check=off")]
}

/// Makes a certificate one of many years ago.
pub(crate) fn expired(params: &mut CertificateParams) {
    params.not_before = rcgen::date_time_ymd(2001, 1, 1);
    params.not_after = rcgen::date_time_ymd(2002, 1, 1);
}

/// Memory that is neither all zeros nor all alike.
pub(crate) fn content() -> Vec<u8> {
    let words = (0..1_u32 << 19).map(|at| match at / 1024 % 4 {
        0 => 0,
        _ => at.wrapping_mul(0x9e37_79b9),
    });
    words.flat_map(u32::to_le_bytes).collect()
}

/// What a destination of the command's has received.
pub(crate) fn assert_arrived(rig: &Rig, content: &[u8]) -> Result<()> {
    ensure!(
        fs::read(rig.path("new"))? == content,
        "other memory arrived"
    );
    fs::remove_file(rig.path("new"))?;
    Ok(())
}

/// Parameters for credentials.
pub(crate) fn creds(id: &str) -> Value {
    json!({"tls-creds": id})
}

/// A machine that waits, with memory of zeros as long as `content`; only `subject` may send, if that is given.
pub(crate) fn start(
    rig: &Rig,
    credentials: &Credentials,
    content: &[u8],
    subject: Option<&str>,
) -> Result<Qemu> {
    let machine = rig.machine("theirs", &vec![0; content.len()])?;
    let mut objects = vec!["-object".to_owned(), credentials.object(Role::Server, true)];
    let mut parameters = creds("tls0");
    if let (Some(identity), Value::Object(parameters)) = (subject, &mut parameters) {
        let authz = json!({"qom-type": "authz-simple", "id": "authz0", "identity": identity});
        objects.extend(["-object".into(), authz.to_string()]);
        parameters.insert("tls-authz".into(), "authz0".into());
    }
    let mut qemu = machine.incoming_defer().args(objects).start()?;
    rig.prepare(&mut qemu, Link::PLAIN, parameters)?;
    Ok(qemu)
}
