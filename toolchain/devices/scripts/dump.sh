# dump PATTERN... -- COMMAND...: every file that a pattern matches as "@file PATH" and its text, a
# directory as "@dir PATH"; every command (its words joined by commas) that succeeds as
# "@run COMMAND" and its output.
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  for path in $1; do
    if [ -d "$path" ]; then printf '@dir %s\n' "$path"
    elif text=$(cat "$path"); then printf '@file %s\n%s\n' "$path" "$text"; fi
  done
  shift
done 2>/dev/null
[ $# -gt 0 ] && shift
set -f
for command in "$@"; do
  IFS=,
  # shellcheck disable=SC2086 # split at the commas
  set -- $command
  unset IFS
  if text=$("$@" 2>/dev/null </dev/null); then printf '@run %s\n%s\n' "$command" "$text"; fi
done
