// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Memory that nobody has touched stays so, on both sides of a migration, and whatever is written meanwhile arrives.

mod asked;
mod large;
mod layouts;
mod rig;
