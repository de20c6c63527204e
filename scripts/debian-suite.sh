# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

# shellcheck shell=bash
# A private apt that knows one suite of Debian, for scripts that unpack packages from another release.
# It uses the keys and the mirror of the system's apt, and changes none of its state.
#
# The script that sources this must define a function refuse, which says why and exits.

# The address of the archive that the system itself comes from.
archive() {
    local codename
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    # apt fills the parentheses in.
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
        awk -v release="$codename" '$1 == release && $2 == "main" { print $3; exit }'
}

# Has apt know only the suite $2 from now on, with all that it keeps in the folder $1.
configure_apt() {
    local folder=$1 suite=$2 keyring=/usr/share/keyrings/debian-archive-keyring.gpg options="" mirror
    mirror=$(archive)
    [ -n "$mirror" ] || refuse "apt has no source for this release"
    [ ! -e "$keyring" ] || options="[signed-by=$keyring] "
    mkdir -p "$folder"/{lists/partial,cache/archives/partial,debs}
    : >"$folder/status"
    printf 'deb %s%s %s main\n' "$options" "$mirror" "$suite" >"$folder/sources.list"
    cat >"$folder/apt.conf" <<CONFIG
Dir::State "$folder";
Dir::State::status "$folder/status";
Dir::State::lists "$folder/lists";
Dir::Cache "$folder/cache";
Dir::Etc::sourcelist "$folder/sources.list";
Dir::Etc::sourceparts "-";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
// A mirror that is a snapshot is older than its own promise.
Acquire::Check-Valid-Until "false";
// Its own user may not look into every folder.
APT::Sandbox::User "";
CONFIG
    export APT_CONFIG=$folder/apt.conf
}
