// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The parameters, one row each, for macros to expand where the types of the values are in scope.

/// Hands the table of parameters to the macro `$then`, behind the arguments `$head`.
macro_rules! with_parameters {
    ($then:ident! { $($head:tt)* }) => { $then! { $($head)*
        "multifd-channels" multifd_channels: ChannelCount = ChannelCount::constant::<2>(),
            "Number of multifd channels; the same on both sides.",
            "More channels than cores that can compress only cost memory.";
        "multifd-compression" multifd_compression: Compression = Compression::None,
            "Compression of the multifd channels; the same on both sides.";
        "multifd-zlib-level" multifd_zlib_level: ZlibLevel = ZlibLevel::constant::<1>(),
            "Level of compression zlib; source only.";
        "multifd-zstd-level" multifd_zstd_level: ZstdLevel = ZstdLevel::constant::<1>(),
            "Level of compression zstd; source only.";
        "multifd-qatzip-level" multifd_qatzip_level: QatzipLevel = QatzipLevel::constant::<1>(),
            "Level of compression qatzip; source only.";
        "zero-page-detection" zero_page_detection: ZeroPageDetection = ZeroPageDetection::Multifd,
            "Who finds zero pages; source only.",
            "QEMU's machine types up to 8.2 have `legacy` as their default.";
        "direct-io" direct_io: bool = false,
            "Bypass the page cache of a file; only with mapped-ram and multifd.";
        "tls-creds" tls_creds: TlsName = TlsName::default(),
            "Id of the TLS credentials; a name switches TLS on.",
            "The source needs credentials of a client, the destination those of a server.";
        "tls-hostname" tls_hostname: TlsName = TlsName::default(),
            "Host name that the peer's certificate must have; empty takes the address's; source only.";
        "tls-authz" tls_authz: TlsName = TlsName::default(),
            "Id of the object that admits TLS clients; destination only.";
        "max-bandwidth" max_bandwidth: Bandwidth = Bandwidth::constant::<{ 128 << 20 }>(),
            "Limit of main and multifd channels together; 0 is unlimited; source only.";
        "avail-switchover-bandwidth" avail_switchover_bandwidth: Bandwidth = Bandwidth::constant::<0>(),
            "Bandwidth to count on at the switchover; 0 estimates it; source only.";
        "downtime-limit" downtime_limit: DowntimeLimit = DowntimeLimit::constant::<300>(),
            "Longest standstill of the guest to switch over with; source only.";
        "throttle-trigger-threshold" throttle_trigger_threshold: Percent = Percent::constant::<50>(),
            "Share of sent bytes dirtied anew that starts auto-converge; percent.";
        "cpu-throttle-initial" cpu_throttle_initial: CpuThrottle = CpuThrottle::constant::<20>(),
            "First throttling of the vCPUs by auto-converge; percent.";
        "cpu-throttle-increment" cpu_throttle_increment: CpuThrottle = CpuThrottle::constant::<10>(),
            "Growth of the throttling by auto-converge; percent.";
        "cpu-throttle-tailslow" cpu_throttle_tailslow: bool = false,
            "Grow the throttling in smaller steps near its end.";
        "max-cpu-throttle" max_cpu_throttle: CpuThrottle = CpuThrottle::constant::<99>(),
            "Most throttling by auto-converge, no less than cpu-throttle-initial; percent.";
        "xbzrle-cache-size" xbzrle_cache_size: XbzrleCacheSize = XbzrleCacheSize::constant::<{ 64 << 20 }>(),
            "Size of the page cache of capability xbzrle; not with multifd.";
        "announce-initial" announce_initial: AnnounceDelay = AnnounceDelay::constant::<50>(),
            "Pause before the second self-announcement; destination only.";
        "announce-max" announce_max: AnnounceDelay = AnnounceDelay::constant::<550>(),
            "Longest pause between self-announcements; destination only.";
        "announce-rounds" announce_rounds: AnnounceRounds = AnnounceRounds::constant::<5>(),
            "Number of self-announcements; destination only.";
        "announce-step" announce_step: AnnounceStep = AnnounceStep::constant::<100>(),
            "Growth of the pause between self-announcements; destination only.";
        "x-vcpu-dirty-limit-period" x_vcpu_dirty_limit_period: DirtyLimitPeriod = DirtyLimitPeriod::constant::<1000>(),
            "How often capability dirty-limit measures dirty rates.";
        "vcpu-dirty-limit" vcpu_dirty_limit: VcpuDirtyLimit = VcpuDirtyLimit::constant::<1>(),
            "Dirty rate that capability dirty-limit leaves to a vCPU.";
        "mode" mode: Mode = Mode::Normal,
            "What the migration is for.";
    } };
}
pub(crate) use with_parameters;
