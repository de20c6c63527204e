//! The `multifd` command as its users meet it: processes, files, addresses, exit statuses.

mod accelerated;
mod advise;
mod allowed;
mod arguments;
mod beside_memory;
mod crowd;
mod doctor;
mod encrypted;
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
mod postcopy;
mod refused;
mod relayed;
mod room;
mod sent_again;
mod strangers;
mod targets;
mod tree;
