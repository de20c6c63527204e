//! The `multifd` command as its users meet it: processes, files, addresses, exit statuses.

mod accelerated;
mod advise;
mod arguments;
mod doctor;
mod harness;
mod inspected;
mod interrupted;
mod measured;
mod migrate;
mod refused;
mod relayed;
mod tree;
