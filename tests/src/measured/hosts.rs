// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Two hosts with a link between them whose rate is known.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Two network namespaces of this machine, and a cable. What goes from the source to the destination is held to a
/// rate (`tc tbf`), what comes back is not.
///
/// Nothing of it outlives this process: the namespaces have no names, and are held by children that end with it.
#[derive(Debug)]
pub struct Hosts {
    source: Host,
    destination: Host,
}

#[derive(Debug)]
struct Host {
    holder: Child,
}

impl Hosts {
    /// The destination's address.
    pub const DESTINATION: Ipv4Addr = Ipv4Addr::new(10, 98, 76, 2);

    /// Makes them, with a link without a limit.
    ///
    /// # Errors
    /// Says what is missing: root, `unshare` and `nsenter`, `ip`, or a kernel with veth.
    pub fn new() -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "network namespaces and their links are root's to make: run this as root"
        );
        let hosts = Self {
            source: Host::new()?,
            destination: Host::new()?,
        };
        let other = hosts.destination.holder.id().to_string();
        let words = format!("link add {CABLE} type veth peer name {CABLE} netns {other}");
        hosts.at_source(|| run("ip", &words))?;
        let set_up = |address: &str| {
            run("ip", &format!("addr add {address}/24 dev {CABLE}"))?;
            run("ip", &format!("link set {CABLE} up"))
        };
        hosts.at_source(|| set_up(SOURCE))?;
        hosts.at_destination(|| set_up(&Self::DESTINATION.to_string()))?;
        Ok(hosts)
    }

    /// Holds what the source sends to so many bits per second from now on.
    ///
    /// # Errors
    /// There is no `tc`, or the kernel has no `tbf`.
    pub fn set_rate(&self, bits: f64) -> Result<()> {
        // As much as two milliseconds are: the kernel's clock may tick no more often. And one of the large packets that
        // are cut only behind the queue.
        let burst = (bits / 8.0 * 0.002).max(128.0 * 1024.0);
        let words = format!(
            "qdisc replace dev {CABLE} root tbf rate {bits:.0}bit burst {burst:.0} latency 20ms"
        );
        self.at_source(|| run("tc", &words))
    }

    /// Does something on the source's host: its sockets, and the processes that it starts, are there.
    ///
    /// # Errors
    /// What it answers.
    pub fn at_source<T: Send>(&self, what: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.source.enter(what)
    }

    /// A program that is to run on the source's host, also after the thread that starts it has ended.
    #[must_use]
    pub fn source_command(&self, program: &Path) -> Command {
        self.source.command(program)
    }

    /// The same on the destination's host.
    #[must_use]
    pub fn destination_command(&self, program: &Path) -> Command {
        self.destination.command(program)
    }

    /// Does something on the destination's host.
    ///
    /// # Errors
    /// What it answers.
    pub fn at_destination<T: Send>(&self, what: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.destination.enter(what)
    }
}

impl Host {
    fn new() -> Result<Self> {
        let holder = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("unshare, of util-linux")?;
        let mut host = Self { holder };
        // What it says again it says from where it is to be.
        let said = (&mut host.holder.stdin, &mut host.holder.stdout);
        let (Some(stdin), Some(stdout)) = said else {
            bail!("unshare without pipes");
        };
        stdin.write_all(b"!")?;
        let answer = stdout.read_exact(&mut [0]);
        answer.context("a new network namespace (unshare --net)")?;
        Ok(host)
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.holder.id()));
        command.arg(program);
        command
    }

    /// Runs `what` on a thread in the namespace, which threads never leave.
    fn enter<T: Send>(&self, what: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let namespace = File::open(format!("/proc/{}/ns/net", self.holder.id()))?;
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(namespace.as_fd(), kind).context("setns")?;
                what()
            });
            let result = inside.join();
            result.map_err(|_| anyhow!("panicked in a network namespace"))?
        })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It ends when nobody can write to it any more.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

fn run(program: &str, words: &str) -> Result<()> {
    let mut command = Command::new(program);
    let output = command.args(words.split_whitespace()).output();
    let output = output.with_context(|| format!("{program}, of iproute2"))?;
    ensure!(
        output.status.success(),
        "{program} {words}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// The interface at each end.
const CABLE: &str = "cable";
const SOURCE: &str = "10.98.76.1";

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn hosts_reach_each_other_and_nobody_else() -> Result<()> {
        if !rustix::process::geteuid().is_root() {
            let refused = Hosts::new().unwrap_err().to_string();
            assert!(refused.contains("as root"), "{refused}");
            return Ok(());
        }
        let Ok(hosts) = Hosts::new() else {
            // A container's root.
            return Ok(());
        };
        hosts.set_rate(1e9)?;
        let listener = hosts.at_destination(|| Ok(TcpListener::bind((Hosts::DESTINATION, 0))?))?;
        let address = listener.local_addr()?;
        assert!(TcpStream::connect_timeout(&address, std::time::Duration::from_secs(1)).is_err());
        let mut sent = hosts.at_source(|| Ok(TcpStream::connect(address)?))?;
        sent.write_all(b"hello")?;
        drop(sent);
        let mut text = String::new();
        listener.accept()?.0.read_to_string(&mut text)?;
        assert_eq!(text, "hello");
        Ok(())
    }
}
