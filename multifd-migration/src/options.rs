// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! From parameters to what core and the methods take.

use std::num::NonZeroU8;

use migration_params::Parameters;
use multifd_core::{ChannelCount, MethodOptions};

/// What each method may ask of the parameters, by QEMU's names.
pub fn method_options(parameters: &Parameters) -> MethodOptions {
    MethodOptions::new()
        .with("multifd-zlib-level", parameters.multifd_zlib_level)
        .with("multifd-zstd-level", parameters.multifd_zstd_level)
        .with("multifd-qatzip-level", parameters.multifd_qatzip_level)
}

/// `multifd-channels` as core counts channels.
pub fn channel_count(parameters: &Parameters) -> ChannelCount {
    NonZeroU8::from(parameters.multifd_channels).into()
}

#[cfg(test)]
mod tests {
    use migration_params::Compression;
    use multifd_core::MethodIdentity;

    #[test]
    fn a_parameter_and_a_method_have_the_same_names() {
        let mut parameter: Vec<_> = Compression::ALL.iter().map(|value| value.name()).collect();
        let methods = MethodIdentity::QEMUS.iter().map(|method| method.name());
        let mut methods: Vec<_> = methods.collect();
        parameter.sort_unstable();
        methods.sort_unstable();
        assert_eq!(parameter, methods);
    }
}
