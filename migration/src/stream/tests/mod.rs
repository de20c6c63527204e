//! The main channel against recordings of real QEMUs, and against itself.

mod machines;
mod recorded;
mod wire;
