# where PYTHON_CODE: what kind of device this is and where we may write, as "key value" lines.
machine=$(uname -m)
echo "machine $machine"
if [ -n "$(getprop ro.build.version.sdk 2>/dev/null)" ]; then
  echo "system android"
  echo "abi $(getprop ro.product.cpu.abi)"
  echo "root /data/local/tmp/paredown"
  echo "lock /data/local/tmp/paredown.lock"
  [ "$(getprop ro.kernel.qemu)$(getprop ro.boot.qemu)" ] && echo "emulated getprop ro.kernel.qemu"
else
  echo "system linux"
  echo "abi $machine"
  echo "root ${XDG_CACHE_HOME:-$HOME/.cache}/paredown"
  echo "lock ${TMPDIR:-/tmp}/paredown.lock"
fi
# In qemu's user mode, other processes show the emulator as the program of a command line.
# shellcheck disable=SC2016 # expanded by the inner shell
case $(sh -c 'head -c 40 "/proc/$PPID/cmdline"' 2>/dev/null) in
  *qemu*) echo "emulated qemu user mode" ;;
esac
case $(cat /proc/device-tree/model 2>/dev/null) in
  *dummy-virt*) echo "emulated qemu virt machine" ;;
esac
for python in "${XDG_DATA_HOME:-$HOME/.local/share}/paredown/venv/bin/python" \
  python3 python3.14 python3.13 python3.12 python3.11; do
  found=$(command -v "$python" 2>/dev/null) || continue
  "$found" -c "$1" "$found" 2>/dev/null && break
done
:
