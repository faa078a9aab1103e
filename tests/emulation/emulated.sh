#!/usr/bin/env bash
# Emulated devices for the tests, made of Debian packages (rootfs.sh).
#   emulated.sh pi FOLDER       an arm64 Debian under qemu's user mode with a real sshd
#   emulated.sh phone FOLDER    this machine's architecture, a real adbd, Android's stand-ins
# It stays in the foreground; when it is killed, everything in it goes. FOLDER/ready says it is up. Its
# network namespace has port 22 or port 5555; clients enter it with `nsenter -n -t PID`. Needs root.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# Seen to work together: another processor than /proc/cpuinfo promises ends onnxruntime with SIGILL.
processor=cortex-a72
features='fp asimd evtstrm crc32 cpuid'
part=0xd08

register() { # arm64 programs start under qemu; flag F: the interpreter need not lie in the image
  local registry=/proc/sys/fs/binfmt_misc
  [ -e $registry/register ] || mount -t binfmt_misc binfmt_misc $registry
  [ -e $registry/qemu-aarch64 ] || cat /usr/lib/binfmt.d/qemu-aarch64.conf >$registry/register
}

run() { # NAME FOLDER
  local base
  base=$("$here/rootfs.sh" "$1")
  [ "$1" = phone ] || register
  mkdir -p "$2"
  rm -f "$2/ready"
  exec unshare --mount --uts --net --ipc --pid --fork --kill-child=SIGKILL \
    env QEMU_CPU=$processor "$0" inside "$1" "$2" "$base"
}

machine() { # ROOT: a device of our own: /dev, /proc, /sys with the sensors of a Raspberry Pi 4
  local root=$1 node name major minor cpu
  mount -t proc proc "$root/proc"
  mount -t tmpfs -o mode=755 dev "$root/dev"
  for node in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do
    IFS=: read -r name major minor <<<"$node"
    mknod -m 666 "$root/dev/$name" c "$major" "$minor"
  done
  mkdir -p "$root/dev/pts" "$root/dev/shm"
  mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
  ln -s pts/ptmx "$root/dev/ptmx"
  ln -s /proc/self/fd "$root/dev/fd"
  mount -t tmpfs shm "$root/dev/shm"
  mount -t tmpfs -o mode=755 sys "$root/sys"
  mkdir -p "$root/sys/devices/system/cpu" "$root/sys/class/thermal/thermal_zone0"
  for name in online possible present; do echo 0-3 >"$root/sys/devices/system/cpu/$name"; done
  for cpu in 0 1 2 3; do
    name=$root/sys/devices/system/cpu/cpu$cpu/cpufreq
    mkdir -p "$name"
    echo ondemand >"$name/scaling_governor"
    for minor in scaling_cur_freq scaling_max_freq cpuinfo_max_freq; do echo 1800000 >"$name/$minor"; done
  done
  echo cpu-thermal >"$root/sys/class/thermal/thermal_zone0/type"
  echo 48250 >"$root/sys/class/thermal/thermal_zone0/temp"
}

start_pi() { # ROOT FOLDER
  local root=$1 folder=$2 cpu
  mkdir -p "$root/sys/firmware/devicetree/base"
  printf 'Raspberry Pi 4 Model B Rev 1.4 (emulated)\0' >"$root/sys/firmware/devicetree/base/model"
  for cpu in 0 1 2 3; do
    printf 'processor\t: %s\nFeatures\t: %s\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: %s\n\n' \
      "$cpu" "$features" "$part"
  done >"$folder/cpuinfo"
  mount --bind "$folder/cpuinfo" "$root/proc/cpuinfo"
  # shellcheck disable=SC2016 # the stand-in's own variable
  printf '#!/bin/sh\ncase "$1" in\n  measure_temp) echo "temp=48.2%sC" ;;\n  get_throttled) cat /run/throttled ;;\n  measure_clock) echo "frequency(48)=1800457088" ;;\n  *) exit 1 ;;\nesac\n' \
    "'" >"$root/usr/bin/vcgencmd"
  chmod 755 "$root/usr/bin/vcgencmd"
  echo throttled=0x0 >"$root/run/throttled"
  mkdir -p "$root/home/pi/.ssh"
  cp "$folder/user.pub" "$root/home/pi/.ssh/authorized_keys"
  cp "$folder/host" "$root/etc/ssh/host"
  chown -R 1000:1000 "$root/home/pi/.ssh"
  chmod 700 "$root/home/pi/.ssh"
  chmod 600 "$root/etc/ssh/host"
  printf '%s\n' 'HostKey /etc/ssh/host' 'UsePAM no' 'PasswordAuthentication no' 'UseDNS no' \
    'PrintMotd no' "SetEnv QEMU_CPU=$QEMU_CPU" >"$root/etc/ssh/sshd_config"
  hostname raspberrypi
  chroot "$root" /usr/sbin/sshd -D -e &
}

start_phone() { # ROOT FOLDER
  local root=$1 name
  mkdir -p "$root/system/bin"
  ln -sf /bin/mksh "$root/system/bin/sh"
  ln -sf mksh "$root/usr/bin/sh"
  for name in $(chroot "$root" /usr/bin/toybox); do ln -s /usr/bin/toybox "$root/system/bin/$name"; done
  cp "$here"/phone/* "$root/system/bin/"
  for name in "$here"/phone/*; do chmod 755 "$root/system/bin/${name##*/}"; done
  mount --bind "$root/data" "$root/data"
  hostname localhost
  chroot --userspec=2000:2000 --groups=2000 "$root" /usr/bin/env -i PATH=/system/bin \
    HOME=/data/local/tmp TMPDIR=/data/local/tmp ADBD_PORT=5555 /usr/lib/android-sdk/platform-tools/adbd &
}

inside() { # NAME FOLDER BASE: as first process of the new namespaces
  local name=$1 folder=$2 base=$3 over=$2/mnt
  mount --make-rprivate /
  mkdir -p "$over"
  mount -t tmpfs -o size="${EMULATED_SIZE:-512m}" device "$over"
  mkdir -p "$over"/{up,work,root}
  mount -t overlay overlay -o lowerdir="$base",upperdir="$over/up",workdir="$over/work" "$over/root"
  ip link set lo up
  machine "$over/root"
  "start_$name" "$over/root" "$folder"
  mount -t proc proc /proc # clients count processes by the numbers of this namespace
  : >"$folder/ready"
  while :; do # the device stays, whatever happens to its server
    sleep 3600 &
    wait
  done
}

case ${1:-} in
  pi | phone) run "$1" "$2" ;;
  inside) inside "$2" "$3" "$4" ;;
  *)
    sed -n '2,6p' "$0"
    exit 2
    ;;
esac
