# doctor ROOT: facts that no sensor file has, as "key value" lines.
root=$1
echo "libc $(getconf GNU_LIBC_VERSION 2>/dev/null || ldd --version 2>&1 | head -n 1)"
echo "page_bytes $(getconf PAGESIZE 2>/dev/null)"
echo "features $(grep -m 1 -iE '^(features|flags)' /proc/cpuinfo | cut -d: -f2)"
while [ ! -d "$root" ]; do root=${root%/*}; done
# shellcheck disable=SC2046 # its columns
set -- $(df -Pk "${root:-/}" | sed -n 2p)
echo "free_kib $4"
for tool in sha256sum df sed cut wc sleep grep; do
  command -v "$tool" >/dev/null 2>&1 || echo "lacks $tool"
done
:
