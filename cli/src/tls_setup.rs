// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd tls-setup`: certificates for a first try.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context as _;

use crate::args::TlsSetupArgs;
use crate::credentials::authority::{Authority, CredentialFile, ORGANIZATION};
use crate::credentials::host_names::HostNames;
use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;
use crate::show::output;

/// Makes the folders, all of them or none.
pub(crate) fn run(args: &TlsSetupArgs) -> anyhow::Result<ExitCode> {
    let mut names = BTreeSet::new();
    for host in &args.host {
        let name = host.first.to_string();
        // Two folders of this name would be one on some file systems.
        if !names.insert(name.to_lowercase()) {
            return Err(Failure::usage(format!("--host {name} is given twice")).into());
        }
    }
    let authority = Authority::new(SystemTime::now())?;
    let hosts: Vec<(&HostNames, Vec<CredentialFile>)> = args
        .host
        .iter()
        .map(|names| Ok((names, authority.host(names)?)))
        .collect::<Result<_, rcgen::Error>>()?;
    let dir = args.dir.as_path();
    match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let what = format!(
                "{} already exists, and nothing is overwritten",
                dir.display()
            );
            return Err(Failure::usage(what)
                .hint("name a folder that does not")
                .into());
        }
        made => made.with_context(|| format!("cannot make {}", dir.display()))?,
    }
    if let Err(error) = write_all(dir, &hosts) {
        // All that is in it is of this run.
        let _ = fs::remove_dir_all(dir);
        return Err(error);
    }
    for (names, _) in &hosts {
        let folder = dir.join(names.first.to_string());
        output::line(format_args!("{}", folder.display()))?;
    }
    output::message(format_args!(
        "for a first try: copy each folder to its host and delete it here; {} says more",
        dir.join(README).display()
    ));
    Ok(ExitCode::Ok)
}

fn write_all(dir: &Path, hosts: &[(&HostNames, Vec<CredentialFile>)]) -> anyhow::Result<()> {
    write(&dir.join(README), &readme(hosts), false)?;
    for (names, files) in hosts {
        let folder = dir.join(names.first.to_string());
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for file in files {
            write(&folder.join(file.name), &file.pem, file.is_secret)?;
        }
        File::open(&folder)?.sync_all()?;
    }
    File::open(dir)?.sync_all()?;
    Ok(())
}

/// Makes a file that is not there.
fn write(path: &Path, text: &str, is_secret: bool) -> anyhow::Result<()> {
    let mode = if is_secret { 0o600 } else { 0o644 };
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    })
    .with_context(|| format!("cannot write {}", path.display()))
}

fn readme(hosts: &[(&HostNames, Vec<CredentialFile>)]) -> String {
    let mut list = String::new();
    for (names, _) in hosts {
        let all: Vec<_> = names.iter().map(ToString::to_string).collect();
        let first = &names.first;
        list.push_str(&format!(
            "  {first}\n    others call it  {}\n    tls-authz       O={ORGANIZATION},CN={first}\n",
            all.join(", ")
        ));
    }
    format!(
        "\
Certificates of `multifd tls-setup`, FOR A FIRST TRY.

{list}
Each folder holds the keys of its host. Copy it there over a way that you trust, for instance
to /etc/pki/multifd, give it to the user that migrates, and delete it here:

  multifd recv --tls-dir /etc/pki/multifd ...
  multifd send --tls-dir /etc/pki/multifd ...
  qemu-system-x86_64 -object tls-creds-x509,id=tls0,dir=/etc/pki/multifd,endpoint=server ...
  (endpoint=client at a source; then the migration parameter tls-creds=tls0 at both)

On each host this says whether the folder is as it should be, as the user that migrates:

  multifd doctor --tls-dir /etc/pki/multifd

The certificates are valid for a year. The authority that
has signed them was discarded at once, so no host can be added, no certificate renewed and
none revoked: make all of them anew for that. Where that is not enough, and it is not for
longer than a try, have an authority of your own sign certificates for these file names.
"
    )
}

const README: &str = "README";
