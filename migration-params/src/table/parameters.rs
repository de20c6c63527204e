// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The migration parameters.

use std::fmt;
use std::str::FromStr;

use super::assignment::Assignment;
use super::catalog;
use super::error::ParamError;
use super::group::Group;
use super::make::table;
use super::parameter_rows::with_parameters;
use crate::values::bounded::{
    AnnounceDelay, AnnounceRounds, AnnounceStep, Bandwidth, ChannelCount, CpuThrottle,
    DirtyLimitPeriod, DowntimeLimit, Percent, QatzipLevel, VcpuDirtyLimit, ZlibLevel, ZstdLevel,
};
use crate::values::cache_size::XbzrleCacheSize;
use crate::values::choice::{Compression, Mode, ZeroPageDetection};
use crate::values::tls_name::TlsName;
use crate::values::value::{self, Value};

with_parameters! { table! {
    Parameter,
    /// Every parameter with its value: what QMP's `query-migrate-parameters` returns.
    ///
    /// Each value is valid by itself. Fields may be set directly; rules between fields are checked by
    /// [`Parameters::apply`] and by the whole checks of [`Settings`](crate::Settings).
    Parameters,
    /// New values for some parameters: what QMP's `migrate-set-parameters` takes.
    ParametersUpdate;
} }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_update_wins() {
        let mut update: ParametersUpdate = "multifd-channels=4".parse().unwrap();
        update.set("multifd-zlib-level 3").unwrap();
        update.merge("multifd-channels=5".parse().unwrap());
        let entries: Vec<_> = update.entries().collect();
        let wanted = [("multifd-channels", "5"), ("multifd-zlib-level", "3")];
        assert_eq!(
            entries,
            wanted.map(|(name, value)| (name, value.to_owned()))
        );
        assert!(!update.is_empty());
        assert!(ParametersUpdate::default().is_empty());
    }
}
