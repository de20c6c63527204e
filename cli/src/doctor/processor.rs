// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The processor, the kernel, and KVM.

use super::finding::{Finding, Problem};
use super::host::{Access, Host};

/// What the processor can do, and how many of them there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Processor {
    model: String,
    cores: usize,
    nodes: usize,
    features: Vec<String>,
    arm: bool,
    kernel: String,
    kvm: Access,
}

impl Processor {
    pub(crate) fn of(host: &Host) -> Self {
        let cpuinfo = host.read("proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let is_node = |name: &String| {
            let digits = name.strip_prefix("node").unwrap_or("");
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        };
        let features = field("flags").or_else(|| field("Features"));
        Self {
            model: field("model name").unwrap_or_else(|| "unknown".into()),
            cores: cpuinfo
                .lines()
                .filter(|line| line.starts_with("processor"))
                .count(),
            nodes: host
                .names("sys/devices/system/node")
                .iter()
                .filter(|name| is_node(name))
                .count(),
            arm: field("flags").is_none() && features.is_some(),
            features: features
                .unwrap_or_default()
                .split(' ')
                .map(Into::into)
                .collect(),
            kernel: host
                .read("proc/sys/kernel/osrelease")
                .unwrap_or_else(|| "unknown".into()),
            kvm: host.access("dev/kvm"),
        }
    }

    /// Whether it can give work to a shared queue, as IAA's are.
    pub(crate) fn can_enqueue(&self) -> bool {
        self.has("enqcmd")
    }

    pub(crate) fn findings(&self) -> Vec<Finding> {
        let (model, cores, nodes) = (&self.model, self.cores, self.nodes.max(1));
        let s = if nodes == 1 { "" } else { "s" };
        let processor = format!("{model}, {cores} cores, {nodes} numa node{s}");
        let kvm = match self.kvm {
            Access::Usable => Finding::ok("/dev/kvm", "usable"),
            Access::Denied => Finding::unusable(
                "/dev/kvm",
                &Problem::new(
                    "this user may not open it",
                    "usermod -a -G kvm USER, log in again",
                ),
            ),
            Access::Missing => Finding::missing("/dev/kvm", "guests cannot run on the processor")
                .advice("modprobe kvm_intel, kvm_amd or kvm; in a guest, turn on nesting"),
        };
        vec![
            Finding::ok("kernel", self.kernel.as_str()),
            Finding::ok("processor", processor),
            self.instructions(),
            kvm,
        ]
    }

    /// What makes the software of the methods fast.
    fn instructions(&self) -> Finding {
        let wanted = if self.arm { &ARM[..] } else { &X86[..] };
        let (have, lack): (Vec<_>, Vec<_>) = wanted.iter().partition(|(name, _)| self.has(name));
        let names = have.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        let have = if names.is_empty() {
            "none of interest".to_owned()
        } else {
            names.join(" ")
        };
        if lack.is_empty() {
            return Finding::ok(INSTRUCTIONS, have);
        }
        let lack = lack.iter().map(|(name, use_)| format!("{name} ({use_})"));
        let lack = lack.collect::<Vec<_>>().join(", ");
        Finding::missing(INSTRUCTIONS, format!("{have}; not there: {lack}"))
    }

    fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|known| known == feature)
    }
}

const INSTRUCTIONS: &str = "instructions";

/// Names of /proc/cpuinfo, and what uses them.
const X86: [(&str, &str); 5] = [
    ("pclmulqdq", "checksums"),
    ("bmi2", "decompression of zstd and deflate"),
    ("avx2", "deflate, zero pages"),
    ("avx512bw", "deflate, checksums"),
    ("vpclmulqdq", "checksums"),
];
const ARM: [(&str, &str); 3] = [
    ("asimd", "deflate, zero pages"),
    ("crc32", "checksums"),
    ("pmull", "checksums"),
];
