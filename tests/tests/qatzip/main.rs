// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The method qatzip against other implementations of its format, whoever does its work.

mod device;
mod forms;
mod library;
mod members;
mod software;
mod threads;
