# talk FOLDER DEADLINE BEAT COMMAND...: run COMMAND in FOLDER and say its lines while they come, as
# "@out LINE." (the point ends it, spaces before it count); "@beat" every BEAT seconds; at last
# "@end STATUS", or "@end late". It dies as under watch.sh.
session=
command -v setsid >/dev/null 2>&1 && session=setsid
# shellcheck disable=SC2016,SC2086 # the inner shell's variables; a word or none
$session sh -c '"$@" 2>&1 </dev/null | while IFS= read -r line; do printf "@out %s.\n" "$line"; done' \
  sh "$@" </dev/null 3<&- &
engine=$!
tend
rm -f late
echo "@end $status"
