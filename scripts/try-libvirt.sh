#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
#
# Migrates a small guest between two libvirt hosts through two relays, as docs/relay.md says, and says what became of it.
# Both hosts are on this machine, each in namespaces of its own: network, files, names and processes. Nothing outside of
# a temporary folder changes, and nothing is left running.
#
# usage, as root: scripts/try-libvirt.sh MULTIFD
#
# MULTIFD is the command, for instance target/release/multifd. It needs libvirtd, virsh, qemu-system-x86_64 and ip;
# on Debian: apt-get install libvirt-daemon-system libvirt-clients qemu-system-x86 iproute2.
# shellcheck disable=SC2016,SC2317 # some text is for another shell, some functions for traps and wait_for
set -eu

MULTIFD=$(realpath "${1:?the command multifd is missing}")
for needed in libvirtd virsh qemu-system-x86_64 ip unshare nsenter; do
    command -v "$needed" >/dev/null || { echo "$needed is missing" >&2; exit 1; }
done
WORK=$(mktemp -d)
HOSTS=
RELAYS=

cleanup() {
    # With its first process all others of a host end.
    for host in $HOSTS; do kill -KILL "$host" 2>/dev/null || :; done
    wait 2>/dev/null || :
    rm -rf "$WORK"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

# A boot sector that writes the letters to the first serial port, a few each second, without end.
boot_sector() {
    printf '\061\300\216\330\373\260\101\272\370\003\356\376\300\074\133\165\002\260\101\271\004\000\364\342\375\353\354' >"$1"
    truncate -s 510 "$1"
    printf '\125\252' >>"$1"
    truncate -s 1M "$1"
}

guest() {
    cat >"$WORK/guest.xml" <<EOF
<domain type='qemu'>
  <name>guest</name>
  <uuid>3c1a0000-1111-2222-3333-444444444444</uuid>
  <memory unit='MiB'>64</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <emulator>$(command -v qemu-system-x86_64)</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='$WORK/disk'/>
      <target dev='vda' bus='virtio'/>
      <readonly/>
    </disk>
    <serial type='file'><source path='$WORK/serial' append='on'/></serial>
    <memballoon model='none'/>
  </devices>
</domain>
EOF
}

# folders NAME ADDRESS: what a host sees in place of the folders of this machine.
folders() {
    for folder in run etc lib log cache; do mkdir -p "$WORK/$1/$folder"; done
    mkdir -p "$WORK/$1/run/guest"
    cp -r /etc/libvirt/. "$WORK/$1/etc"
    cat >"$WORK/$1/etc/libvirtd.conf" <<EOF
auth_unix_rw = "none"
host_uuid = "$(cat /proc/sys/kernel/random/uuid)"
EOF
    cat >"$WORK/$1/etc/qemu.conf" <<EOF
user = "root"
group = "root"
security_driver = "none"
stdio_handler = "file"
cgroup_controllers = []
migrate_tls_x509_cert_dir = "$WORK/pki/$2"
migrate_tls_x509_verify = 1
EOF
}

# host NAME: starts it, and writes the number of its first process.
host() {
    unshare --net --mount --uts --pid --fork --kill-child --mount-proc sh -eu -c '
        name=$1 work=$2
        hostname "$name"
        ip link set lo up
        mount --bind "$work/$name/run" /run
        mount --bind "$work/$name/etc" /etc/libvirt
        for folder in lib log cache; do
            mkdir -p "/var/$folder/libvirt"
            mount --bind "$work/$name/$folder" "/var/$folder/libvirt"
        done
        libvirtd' host "$1" "$WORK" >"$WORK/$1/libvirtd" 2>&1 &
    outer=$!
    HOSTS="$HOSTS $outer"
    until pgrep -P "$outer" >"$WORK/$1/pid"; do sleep 0.1; done
}

# in_host NAME COMMAND...
in_host() {
    inside=$1
    shift
    nsenter --all --target "$(cat "$WORK/$inside/pid")" "$@"
}

uri() { echo "qemu+unix:///system?socket=$WORK/$1/run/libvirt/libvirt-sock"; }

wait_for() {
    for _ in $(seq 300); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        sleep 0.1
    done
    echo "this has not come true: $*" >&2
    return 1
}

# relay NAME ARGUMENTS...: starts one on a host.
relay() {
    where=$1
    shift
    : >"$WORK/$where/relay"
    in_host "$where" "$MULTIFD" relay --quiet --keep-listening --no-control "$@" >>"$WORK/$where/relay" 2>&1 &
    RELAYS="$RELAYS $!"
    wait_for grep -q '^listening on' "$WORK/$where/relay"
}

end_relays() {
    for name in a b; do in_host "$name" pkill -x "$(basename "$MULTIFD" | cut -c -15)" || :; done
    for ended in $RELAYS; do wait "$ended" || :; done
    RELAYS=
}

# try TITLE, with the arguments for virsh behind: from a to b through the relays that are there; back without them.
try() {
    title=$1
    shift
    letters=$(stat -c %s "$WORK/serial")
    if virsh -q -c "$(uri a)" migrate guest "$(uri b)" --live --unsafe --parallel --parallel-connections 2 "$@" \
        && wait_for goes_on "$letters"; then
        echo "ok       $title"
        virsh -q -c "$(uri b)" migrate guest "$(uri a)" --live --unsafe --migrateuri tcp://10.77.0.1:49700
    else
        echo "FAILED   $title"
        failed=1
        for name in a b; do sed "s/^/    relay $name: /" "$WORK/$name/relay"; done
        virsh -q -c "$(uri a)" domstate guest | sed 's/^/    the guest at a is /'
    fi
    end_relays
}

# refuse TITLE, with the arguments for virsh behind: the guest stays at a, and runs.
refuse() {
    title=$1
    shift
    if virsh -q -c "$(uri a)" migrate guest "$(uri b)" --live --unsafe --parallel --parallel-connections 2 "$@" \
        2>"$WORK/refused"; then
        echo "FAILED   $title: it was not refused"
        failed=1
    elif ! virsh -q -c "$(uri a)" domstate guest | grep -q running; then
        echo "FAILED   $title"
        failed=1
    else
        echo "refused  $title: $(cat "$WORK/refused")"
    fi
    end_relays
}

# The guest runs at b, and has written more than so many letters.
goes_on() {
    virsh -q -c "$(uri b)" domstate guest | grep -q running && [ "$(stat -c %s "$WORK/serial")" -gt "$(($1 + 4))" ]
}

boot_sector "$WORK/disk"
: >"$WORK/serial"
guest
"$MULTIFD" tls-setup --host 10.77.0.1 --host 10.77.0.2 "$WORK/pki" >/dev/null 2>&1
folders a 10.77.0.1
folders b 10.77.0.2
host a
host b
ip link add "tl-$$" netns "$(cat "$WORK/a/pid")" type veth peer name "tl-$$" netns "$(cat "$WORK/b/pid")"
for name in a b; do
    case $name in a) address=10.77.0.1/24 ;; *) address=10.77.0.2/24 ;; esac
    in_host "$name" ip addr add "$address" dev "tl-$$"
    in_host "$name" ip link set "tl-$$" up
    wait_for timeout 10 virsh -c "$(uri "$name")" version
done
virsh -q -c "$(uri a)" version
virsh -q -c "$(uri a)" create "$WORK/guest.xml"
wait_for test -s "$WORK/serial"

A=$WORK/pki/10.77.0.1
B=$WORK/pki/10.77.0.2
ZSTD=multifd-compression=zstd
failed=0

relay b --listen tcp:10.77.0.2:4444 --to unix:/run/guest/in --in "$ZSTD" --in "tls-creds=$B"
relay a --listen unix:/run/guest/in --to tcp:10.77.0.2:4444 --out "$ZSTD" --out "tls-creds=$A"
try "unix sockets, TLS between the relays" --migrateuri unix:///run/guest/in

relay b --listen tcp:10.77.0.2:4444 --to tcp:127.0.0.1:49600 --in "$ZSTD" --in "tls-creds=$B"
relay a --listen tcp:127.0.0.1:49600 --to tcp:10.77.0.2:4444 --out "$ZSTD" --out "tls-creds=$A"
try "tcp, TLS between the relays" --migrateuri tcp://127.0.0.1:49600 --listen-address 127.0.0.1

relay b --listen tcp:10.77.0.2:4444 --to unix:/run/guest/in --in "$ZSTD" --in "tls-creds=$B" \
    --out "tls-creds=$B" --out tls-hostname=10.77.0.2
relay a --listen unix:/run/guest/in --to tcp:10.77.0.2:4444 --in "tls-creds=$A" --out "$ZSTD" --out "tls-creds=$A"
try "unix sockets, TLS everywhere" --migrateuri unix:///run/guest/in --tls --tls-destination 10.77.0.1

relay b --listen tcp:10.77.0.2:4444 --to tcp:127.0.0.1:49600 --in "$ZSTD" --in "tls-creds=$B" \
    --out "tls-creds=$B" --out tls-hostname=10.77.0.2
relay a --listen tcp:127.0.0.1:49600 --to tcp:10.77.0.2:4444 --in "tls-creds=$A" --out "$ZSTD" --out "tls-creds=$A"
try "tcp, TLS everywhere" --migrateuri tcp://127.0.0.1:49600 --listen-address 127.0.0.1 --tls --tls-destination 10.77.0.1

relay b --listen tcp:10.77.0.2:4444 --to unix:/run/guest/in --in "$ZSTD" --in "tls-creds=$B"
relay a --listen unix:/run/guest/in --to tcp:10.77.0.2:4444 --out "$ZSTD" --out "tls-creds=$A"
refuse "QEMUs with TLS, the relays without it on their sides" \
    --migrateuri unix:///run/guest/in --tls --tls-destination 10.77.0.1
exit "$failed"
