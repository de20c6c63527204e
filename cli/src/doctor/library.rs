// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Libraries that methods load at run time: where they are, and which version.

use multifd_core::MethodOptions;

use super::finding::{Finding, Problem};
use super::host::Host;

/// A library that a method loads, or that such a library needs itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Library {
    pub(crate) file: &'static str,
    /// What it is for.
    pub(crate) purpose: &'static str,
    /// The method that can work with it alone, without a device, and so can be asked to load it.
    pub(crate) method: Option<&'static str>,
    /// The option that names another file.
    option: Option<&'static str>,
    /// How to get it.
    advice: &'static str,
}

/// A library that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) path: String,
    /// From the name of the file that its links lead to.
    pub(crate) version: Option<String>,
    /// What keeps it from being loaded.
    pub(crate) problem: Option<Problem>,
}

pub(crate) const QATZIP: Library = Library {
    file: "libqatzip.so.3",
    purpose: "qatzip on a QAT device",
    method: Some("qatzip"),
    option: Some("qatzip-library"),
    advice: "install QATzip (Debian, Ubuntu: libqatzip3; Fedora, RHEL: qatzip-libs)",
};
pub(crate) const QAT: Library = Library {
    file: "libqat.so.4",
    purpose: "libqatzip",
    method: None,
    option: None,
    advice: "install qatlib (Debian, Ubuntu: libqat4; Fedora, RHEL: qatlib)",
};
pub(crate) const USDM: Library = Library {
    file: "libusdm.so.0",
    purpose: "libqatzip",
    method: None,
    option: None,
    advice: "install qatlib (Debian, Ubuntu: libusdm0; Fedora, RHEL: qatlib)",
};
pub(crate) const QPL: Library = Library {
    file: "libqpl.so.1",
    purpose: "qpl on an IAA device",
    method: Some("qpl"),
    option: Some("qpl-library"),
    advice: "build Intel's QPL from its sources, with -DQPL_LIBRARY_TYPE=SHARED",
};
pub(crate) const ACCEL_CONFIG: Library = Library {
    file: "libaccel-config.so.1",
    purpose: "libqpl",
    method: None,
    option: None,
    advice: "install accel-config (Debian, Ubuntu: libaccel-config1; Fedora, RHEL: \
             accel-config-libs)",
};
pub(crate) const WD: Library = Library {
    file: "libwd.so.2",
    purpose: "uadk on a HiSilicon ZIP device",
    method: None,
    option: None,
    advice: "build UADK from its sources",
};
pub(crate) const WD_COMP: Library = Library {
    file: "libwd_comp.so.2",
    purpose: "uadk on a HiSilicon ZIP device",
    method: None,
    option: Some("uadk-library"),
    advice: "build UADK from its sources",
};
pub(crate) const ISAL: Library = Library {
    file: "libisal.so.2",
    purpose: "faster software of methods in deflate's format",
    method: None,
    option: Some("isal-library"),
    advice: "install ISA-L (Debian, Ubuntu: libisal2; Fedora, RHEL: isa-l)",
};

impl Library {
    /// Looks for it as the dynamic loader does, or where `options` says.
    pub(crate) fn find(&self, host: &Host, options: &MethodOptions) -> Option<Found> {
        let named = self.option.and_then(|name| options.text(name));
        let file = named.unwrap_or(self.file);
        if file.contains('/') {
            let path = file.trim_matches('/');
            let inside = format!("{path}/{}", self.file);
            let named = if host.exists(&inside) { &inside } else { path };
            return Some(self.found(host, named.to_owned()));
        }
        let folders = folders(host).into_iter();
        let mut paths = folders.map(|folder| format!("{folder}/{file}"));
        let path = paths.find(|path| host.exists(path))?;
        Some(self.found(host, path))
    }

    /// `wanted`: whether there is something that it would be needed for.
    pub(crate) fn finding(&self, found: Option<&Found>, wanted: bool) -> Finding {
        let purpose = self.purpose;
        match found {
            None if wanted => {
                Finding::missing(self.file, format!("for {purpose}")).advice(self.advice)
            }
            None => Finding::missing(self.file, format!("for {purpose}; nothing here needs it")),
            Some(found) => match &found.problem {
                Some(problem) => Finding::unusable(self.file, problem),
                None => {
                    let version = found.version.as_deref();
                    let version = version.map_or(String::new(), |text| format!("version {text}, "));
                    Finding::ok(
                        self.file,
                        format!("{version}/{}; for {purpose}", found.path),
                    )
                }
            },
        }
    }

    /// What was found is no use, because of `error`.
    pub(crate) fn refused(&self, error: &str) -> Finding {
        Finding::unusable(self.file, &Problem::new(error, self.advice))
    }

    /// What is missing if it was not found, for a method that needs it.
    pub(crate) fn need(&self, found: Option<&Found>) -> Result<(), Problem> {
        match found {
            None => Err(Problem::new(format!("no {}", self.file), self.advice)),
            Some(found) => found.problem.clone().map_or(Ok(()), Err),
        }
    }

    fn found(&self, host: &Host, path: String) -> Found {
        let real = host.resolve(&path).unwrap_or_else(|| path.clone());
        let head = host.head(&real, 20);
        let problem = match head.as_deref() {
            _ if !host.exists(&path) => Some(Problem::new(
                format!("/{path} is not there"),
                "name another file with --library or in the environment",
            )),
            None => Some(Problem::new(
                format!("/{path} cannot be read"),
                format!("chmod a+r /{real}"),
            )),
            Some(head) if !is_for(head, host) => Some(Problem::new(
                format!("/{path} is not a library for this processor"),
                self.advice,
            )),
            Some(_) => None,
        };
        Found {
            version: version(&real),
            path,
            problem,
        }
    }
}

/// What follows `.so.` in a name: `3.1.2` of `libx.so.3.1.2`.
fn version(path: &str) -> Option<String> {
    let (_, version) = path.rsplit_once(".so.")?;
    version.contains('.').then(|| version.to_owned())
}

/// Whether a file begins as a library for this program's kind of processor does. Of another host the
/// processor is not known, and every library is taken.
fn is_for(head: &[u8], host: &Host) -> bool {
    let machine = head.get(18..20);
    let ours: Option<[u8; 2]> = match std::env::consts::ARCH {
        "x86_64" => Some([62, 0]),
        "aarch64" => Some([183, 0]),
        _ => None,
    };
    let fits = ours.is_none_or(|ours| machine == Some(&ours[..]));
    head.starts_with(b"\x7fELF") && (fits || !host.is_here())
}

/// Where the dynamic loader looks, in its order: `LD_LIBRARY_PATH`, what `/etc/ld.so.conf` names, and the
/// usual folders.
fn folders(host: &Host) -> Vec<String> {
    let mut folders = Vec::new();
    let mut add = |folder: &str| {
        let folder = folder.trim().trim_matches('/').to_owned();
        if !folder.is_empty() && !folders.contains(&folder) {
            folders.push(folder);
        }
    };
    let variable = host.variable("LD_LIBRARY_PATH").unwrap_or_default();
    variable.split(':').for_each(&mut add);
    let mut files = vec!["etc/ld.so.conf".to_owned()];
    let included = host.names(INCLUDED).into_iter();
    files.extend(
        included
            .filter(|name| name.ends_with(".conf"))
            .map(|name| format!("{INCLUDED}/{name}")),
    );
    for text in files.iter().filter_map(|file| host.read(file)) {
        let lines = text.lines().filter(|line| line.starts_with('/'));
        lines.for_each(&mut add);
    }
    USUAL.iter().for_each(|folder| add(folder));
    folders
}

/// Distributions include all of it from `/etc/ld.so.conf`.
const INCLUDED: &str = "etc/ld.so.conf.d";
const USUAL: [&str; 8] = [
    "lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu",
    "lib/aarch64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "lib64",
    "usr/lib64",
    "lib",
    "usr/lib",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_in_the_name() {
        assert_eq!(version("lib/libqatzip.so.3.3.1").as_deref(), Some("3.3.1"));
        assert_eq!(version("lib/libqatzip.so.3"), None);
        assert_eq!(version("lib/libqatzip"), None);
    }

    #[test]
    fn configured_folders_come_first() {
        let root = tempfile::tempdir().unwrap();
        let included = root.path().join(INCLUDED);
        std::fs::create_dir_all(&included).unwrap();
        let write = |name: &str, text: &str| std::fs::write(included.join(name), text).unwrap();
        write("a.conf", "# ours\n/opt/qatzip/lib\n");
        write("b.conf", "/usr/lib64\n/opt/qpl/lib64/\n");
        write("c.txt", "/not/this\n");
        let folders = folders(&Host::at(root.path()));
        assert_eq!(
            folders[..3],
            ["opt/qatzip/lib", "usr/lib64", "opt/qpl/lib64"]
        );
        assert_eq!(
            folders.iter().filter(|name| *name == "usr/lib64").count(),
            1
        );
        assert!(!folders.contains(&"not/this".to_owned()));
    }
}
