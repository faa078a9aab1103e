# sample FOLDER SECONDS PATTERN... -- COMMAND...: look at sensors now and then, until standard input
# ends. A look is "@at SECONDS_SINCE_BOOT", "PATH:LINE" of every file that a pattern matches, then
# "@run COMMAND", its output and "@status N" for each command (its words joined by commas).
# Says "@sampling" after the first look; at the end "@looks BYTES", the looks, "@cost" and what
# `times` says. A look is followed by a pause of SECONDS, or of a hundred times as long as it took.
folder=$1 seconds=$2
shift 2
patterns=
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  patterns="$patterns $1"
  shift
done
[ $# -gt 0 ] && shift
# shellcheck disable=SC2086,SC2116 # expanded once; no name there has a blank
files=$(echo $patterns)
exec 3<&0
now() { # hundredths of a second since boot
  read -r uptime _ </proc/uptime
  now=${uptime%.*}${uptime#*.}
}
look() { # one process reads all files: what they say in one word, and three lines of /proc
  now
  began=$now
  echo "@at $uptime"
  # shellcheck disable=SC2086 # a list
  grep -HsE '^(cpu|pswpin|pswpout) |^[^ ]+$' $files
  for command in "$@"; do
    IFS=,
    # shellcheck disable=SC2086 # split at the commas
    set -- $command
    unset IFS
    command -v "$1" >/dev/null || continue
    echo "@run $command"
    "$@" </dev/null
    echo "@status $?"
  done
  now
}
again() {
  # mksh would wait for a sleep in the foreground before it dies.
  nap=
  trap 'kill "$nap" 2>/dev/null; exit' TERM
  while :; do
    sleep "$pause" </dev/null >/dev/null 2>&1 &
    nap=$!
    wait "$nap" || exit
    look "$@" >>"$folder/looks" 2>/dev/null
    pause=$((now - began))
    [ "$pause" -ge "$seconds" ] || pause=$seconds
  done
}
pause=$seconds
look "$@" >"$folder/looks" 2>/dev/null
echo @sampling
again "$@" 3<&- &
looker=$!
while read -r _ <&3; do :; done
kill "$looker" 2>/dev/null
wait "$looker" 2>/dev/null
look "$@" >>"$folder/looks" 2>/dev/null
{ echo @cost; times; } >>"$folder/looks"
echo "@looks $(wc -c <"$folder/looks")"
cat "$folder/looks"
rm -f "$folder/looks"
