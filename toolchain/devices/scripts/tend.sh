# FOLDER DEADLINE BEAT COMMAND...: part of watch.sh and talk.sh, read before them. Goes to FOLDER and
# leaves COMMAND in "$@". tend: wait for $engine to end; say "@beat SECONDS" every $beat seconds; kill
# it $deadline seconds after its start, and when descriptor 3 ends: then the host is gone. Leaves
# $status, its exit status or "late".
folder=$1 deadline=$2 beat=$3
shift 3
cd "$folder" || exit 125
exec 3<&0
rm -f late
stop() { kill -9 "-$engine" 2>/dev/null || kill -9 "$engine" 2>/dev/null; }
tend() {
  trap 'stop; exit 129' HUP INT TERM
  (
    # mksh would wait for a sleep in the foreground before it dies.
    nap=
    trap 'kill "$nap" 2>/dev/null; exit' TERM
    waited=0
    while :; do
      sleep "$beat" </dev/null >/dev/null 2>&1 &
      nap=$!
      wait "$nap" || exit
      waited=$((waited + beat))
      echo "@beat $waited"
      if [ "$waited" -ge "$deadline" ]; then : >late; stop; fi
    done
  ) 3<&- &
  beater=$!
  (
    while read -r _ <&3; do :; done
    stop
  ) &
  watcher=$!
  wait "$engine"
  status=$?
  kill "$beater" "$watcher" 2>/dev/null
  wait "$beater" "$watcher" 2>/dev/null
  [ -e late ] && status=late
}
