#!/usr/bin/env bash
# Debian packages that the tests on emulated devices need; does nothing where they are installed, or
# where this is no Debian or not root (those tests are then skipped, and say what is missing).
set -euo pipefail
packages=(openssh-client openssh-server libfaketime adb qemu-user-static mmdebstrap iproute2 util-linux
  g++ g++-aarch64-linux-gnu chromium
  default-jdk-headless junit4 unzip aapt apksigner zipalign dexdump proguard-cli
  android-framework-res)
missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "not installed: ${missing[*]}; the tests that need them will be skipped" >&2
  exit 0
fi
echo "installing ${missing[*]}" >&2
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
