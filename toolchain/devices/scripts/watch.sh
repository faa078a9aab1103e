# watch FOLDER DEADLINE BEAT COMMAND...: run one engine in FOLDER and never outlive its host.
# Says "@beat" every BEAT seconds and at last "@end STATUS OUT_BYTES ERR_BYTES" and both outputs.
# The engine dies after DEADLINE seconds, and when standard input ends: then the host is gone.
if command -v setsid >/dev/null 2>&1; then
  setsid "$@" >out 2>err </dev/null 3<&- &
else
  "$@" >out 2>err </dev/null 3<&- &
fi
engine=$!
tend
echo "@end $status $engine $(wc -c <out) $(wc -c <err)"
cat out err
rm -f out err late
