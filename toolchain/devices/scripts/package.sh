# package NAME: "path", "version", "abi" and "instrumentation" lines of an installed app; nothing
# where it is not installed.
name=$1
path=$(pm path "$name" 2>/dev/null | sed -n 's/^package://p' | head -n 1)
[ -n "$path" ] || exit 0
echo "path $path"
about=$(dumpsys package "$name" 2>/dev/null)
printf '%s\n' "$about" | sed -n 's/^ *versionName=/version /p' | head -n 1
printf '%s\n' "$about" | sed -n 's/^ *primaryCpuAbi=/abi /p' | head -n 1
pm list instrumentation "$name" 2>/dev/null | sed -n 's/^instrumentation:\([^ ]*\).*/instrumentation \1/p'
