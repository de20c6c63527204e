//! The method uadk against other implementations of its format.

mod format;
