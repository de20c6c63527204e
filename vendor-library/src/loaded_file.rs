// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Which file a function is in.

use std::fs;
use std::path::Path;

/// The name of the file that is mapped at `address`, without its folder: for a library the file
/// itself, and not the link that was followed to it. `None` where there is no `/proc`.
pub(crate) fn at(address: usize) -> Option<String> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    name(&maps, address)
}

/// Looks an address up in the text of `/proc/self/maps` (proc(5)).
fn name(maps: &str, address: usize) -> Option<String> {
    let line = maps.lines().find(|line| {
        let range = line.split(' ').next().and_then(|range| {
            let (start, end) = range.split_once('-')?;
            let parse = |text| usize::from_str_radix(text, 16).ok();
            Some(parse(start)?..parse(end)?)
        });
        range.is_some_and(|range| range.contains(&address))
    })?;
    let path = line.get(line.find('/')?..)?;
    Path::new(path).file_name()?.to_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_its_file() {
        let maps = "\
55d0a000-55d0b000 rw-p 00000000 00:00 0                          [heap]
7f10a000-7f10b000 r--p 00000000 fe:01 4711                       /usr/lib/libqatzip.so.3.2.0
7f10b000-7f10f000 r-xp 00001000 fe:01 4711                       /usr/lib/libqatzip.so.3.2.0
";
        let file = Some("libqatzip.so.3.2.0".to_owned());
        assert_eq!(name(maps, 0x7f10_b123), file);
        assert_eq!(name(maps, 0x7f10_f000), None);
        assert_eq!(name(maps, 0x55d0_a000), None);
        assert_eq!(name("", 0), None);
    }

    #[test]
    fn this_program_is_mapped_too() {
        assert!(at(name as *const () as usize).is_some());
    }
}
