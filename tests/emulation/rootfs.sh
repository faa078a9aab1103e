#!/usr/bin/env bash
# rootfs.sh pi|phone: the folder of an unpacked Debian, made once under $PAREDOWN_CACHE/emulated.
# `pi` is arm64 with Python, numpy, onnxruntime and sshd; `phone` is this machine's architecture with
# adbd, mksh and toybox. Needs root.
set -euo pipefail
shopt -s inherit_errexit

cache=${PAREDOWN_CACHE:-$HOME/.cache/paredown}/emulated
suite=trixie
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -n 1)
wheels=(numpy==2.4.6 onnxruntime==1.31.1)
host=$(dpkg --print-architecture)

say() { printf 'emulated: %s\n' "$*" >&2; }

# The name of an image changes with its recipe.
image() { echo "$cache/$1-$suite-$(sha256sum <"$0" | cut -c1-12)"; }

extract() { # ARCH FOLDER PACKAGES: unpacked, no maintainer script run
  mmdebstrap --quiet --mode=root --format=directory --variant=extract --arch="$1" \
    --include='?essential' --include="$3" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    "$suite" "$2" "deb $mirror $suite main"
}

users() { # FOLDER: what the scripts of base-passwd and libc-bin would have done, and our users
  cp "$1/usr/share/base-passwd/passwd.master" "$1/etc/passwd"
  cp "$1/usr/share/base-passwd/group.master" "$1/etc/group"
  sed -i 's#^root:[^:]*:#root:x:#' "$1/etc/passwd"
  printf '%s\n' 'sshd:x:101:65534::/run/sshd:/usr/sbin/nologin' 'pi:x:1000:1000::/home/pi:/bin/bash' \
    'shell:x:2000:2000::/data/local/tmp:/bin/sh' >>"$1/etc/passwd"
  printf '%s\n' 'pi:x:1000:' 'shell:x:2000:' >>"$1/etc/group"
  printf '%s\n' 'root:*:19000::::::' 'pi:*:19000::::::' 'shell:*:19000::::::' >"$1/etc/shadow"
  printf 'passwd: files\ngroup: files\nshadow: files\nhosts: files\n' >"$1/etc/nsswitch.conf"
  printf '127.0.0.1 localhost raspberrypi\n' >"$1/etc/hosts"
  ln -sf mawk "$1/usr/bin/awk"
  mkdir -p "$1"/{proc,sys,dev,run/sshd,home/pi,data/local/tmp,opt/site,etc/ssh}
  chown 1000:1000 "$1/home/pi"
  chown 2000:2000 "$1/data/local/tmp"
}

build_pi() { # FOLDER
  local root=$1 python twin=$1.twin
  say "Debian $suite for arm64 (about a minute, once)"
  extract arm64 "$root" python3,libstdc++6,libgomp1,openssh-server,procps,mawk
  users "$root"
  python=$(basename "$(readlink "$root/usr/bin/python3")")
  python=${python#python}
  say "wheels for aarch64"
  python3 -m pip install -q --disable-pip-version-check --no-compile --target "$root/opt/site" \
    --platform manylinux_2_27_aarch64 --platform manylinux_2_28_aarch64 --platform manylinux2014_aarch64 \
    --python-version "$python" --implementation cp --only-binary=:all: "${wheels[@]}"
  mkdir -p "$root/usr/local/lib/python$python/dist-packages"
  echo /opt/site >"$root/usr/local/lib/python$python/dist-packages/site.pth"
  say "byte code, by the same Python for $host (under emulation: 90 s)"
  extract "$host" "$twin" python3-minimal,libpython3-stdlib
  mkdir -p "$twin/mnt"
  unshare --mount sh -c 'mount --make-rprivate / && mount --bind "$1" "$2/mnt" && exec chroot "$2" \
    python3 -m compileall -q -s /mnt -p / -x "/(test|tests|idlelib|tkinter)/" \
    "/mnt/usr/lib/python$3" /mnt/opt/site' sh "$root" "$twin" "$python" >/dev/null || true
  rm -rf "$twin"
}

build_phone() { # FOLDER
  say "Debian $suite for $host with adbd"
  extract "$host" "$1" adbd,mksh,toybox,mawk
  users "$1"
}

build() { # NAME: prints the folder, which is whole or not there
  local folder
  folder=$(image "$1")
  if [ ! -d "$folder" ]; then
    mkdir -p "$cache"
    rm -rf "$cache/$1-$suite-"* # of older recipes, and broken off
    "build_$1" "$folder.part"
    mv "$folder.part" "$folder"
  fi
  echo "$folder"
}

case ${1:-} in
  pi | phone) build "$1" ;;
  *)
    sed -n '2,4p' "$0"
    exit 2
    ;;
esac
