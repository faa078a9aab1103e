# watch FOLDER DEADLINE BEAT COMMAND...: run one engine in FOLDER and never outlive its host.
# Says "@beat" every BEAT seconds and at last "@end STATUS OUT_BYTES ERR_BYTES" and both outputs.
# The engine dies after DEADLINE seconds, and when standard input ends: then the host is gone.
folder=$1 deadline=$2 beat=$3
shift 3
cd "$folder" || exit 125
exec 3<&0
rm -f late
if command -v setsid >/dev/null 2>&1; then
  setsid "$@" >out 2>err </dev/null 3<&- &
else
  "$@" >out 2>err </dev/null 3<&- &
fi
engine=$!
stop() { kill -9 "-$engine" 2>/dev/null || kill -9 "$engine" 2>/dev/null; }
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
echo "@end $status $engine $(wc -c <out) $(wc -c <err)"
cat out err
rm -f out err late
