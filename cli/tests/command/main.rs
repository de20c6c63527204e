// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! The `multifd` command as its users meet it: processes, files, addresses, exit statuses.

mod accelerated;
mod activated;
mod adapting;
mod advise;
mod allowed;
mod arguments;
mod asked;
mod beside_memory;
mod configured;
mod crowd;
mod doctor;
mod documented;
mod encrypted;
mod few_files;
mod flood;
mod footprint;
mod guest;
mod harness;
mod inspected;
mod interrupted;
mod kept;
mod killed;
mod large_devices;
mod measured;
mod migrate;
mod options;
mod postcopy;
mod refused;
mod relayed;
mod room;
mod sent_again;
mod service;
mod soak;
mod sparse;
mod strangers;
mod targets;
mod terminal;
mod tls_setup;
mod together;
mod tree;
mod tripwire;
