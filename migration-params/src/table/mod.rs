// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The tables of parameters and capabilities, and what is made of them: types, updates, help, errors.
//! Imports only `values`.

pub(crate) mod assignment;
pub(crate) mod capabilities;
pub(crate) mod capability_rows;
pub(crate) mod catalog;
pub(crate) mod error;
pub(crate) mod group;
pub(crate) mod make;
pub(crate) mod parameter_rows;
pub(crate) mod parameters;
