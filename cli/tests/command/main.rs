//! The `multifd` command as its users meet it: processes, files, addresses, exit statuses.

mod arguments;
mod harness;
mod interrupted;
mod measured;
mod migrate;
mod refused;
