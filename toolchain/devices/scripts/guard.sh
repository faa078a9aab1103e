# guard LOCK HOLDER ROOT RUN: hold the device for one host until standard input ends, then clean up.
# Says "@locked", or "@held WHO". A lock counts only while its owner lives: boot, pid and start time.
lock=$1 holder=$2 root=$3 run=$4
start_of() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)
[ -n "$boot" ] || boot=$(sed -n 's/^btime //p' /proc/stat 2>/dev/null)
boot=${boot:-unknown}
owned() { [ "$(sed -n 1p "$lock/owner" 2>/dev/null)" = "$boot $$ $mine" ]; }
mine=$(start_of $$)
take() {
  mkdir "$lock" 2>/dev/null || return 1
  printf '%s %s %s\n%s\n' "$boot" $$ "$mine" "$holder" >"$lock/owner"
}
alive() {
  first=$(sed -n 1p "$lock/owner" 2>/dev/null)
  if [ -z "$first" ]; then # being written, or left by a crash in that instant
    sleep 5
    first=$(sed -n 1p "$lock/owner" 2>/dev/null)
    [ -n "$first" ] || return 1
  fi
  # shellcheck disable=SC2086 # three words
  set -- $first
  [ "$1" = "$boot" ] && [ -d "/proc/$2" ] && [ "$(start_of "$2")" = "$3" ]
}
finish() {
  [ -n "$run" ] && rm -rf "$run"
  rmdir "$root/runs" "$root/store" "$root" 2>/dev/null
  owned && rm -rf "$lock"
}
tries=0
until take; do
  tries=$((tries + 1))
  if [ ! -d "$lock" ]; then
    [ "$tries" -gt 3 ] && { echo "@nolock $lock"; exit 1; }
  elif alive; then
    echo "@held $(sed -n 2p "$lock/owner" 2>/dev/null)"
    exit 1
  elif ! mv "$lock" "$lock.stale.$$" 2>/dev/null && [ "$tries" -gt 3 ]; then
    echo "@stale $lock"
    exit 1
  fi
  rm -rf "$lock.stale.$$" 2>/dev/null
done
trap 'exit 0' HUP INT TERM PIPE
trap finish EXIT
rm -rf "$root/runs" # of hosts that died: nobody else holds the device now
mkdir -p "$root/store" "$run" || { echo "@noroot $root"; exit 1; }
echo "@locked"
while read -r _; do :; done
