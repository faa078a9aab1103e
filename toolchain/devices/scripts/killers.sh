# killers PID: lines of the system's logs that tell why PID was killed; "unreadable" where none may
# be read.
pid=$1 read=no
if log=$(dmesg 2>/dev/null); then
  read=yes
  printf '%s\n' "$log" | grep -iE 'out of memory|oom-kill|lowmemorykiller' | grep -w "$pid" | tail -1
fi
if log=$(logcat -d -t 400 -b all 2>/dev/null); then
  read=yes
  printf '%s\n' "$log" | grep -iE 'lowmemorykiller|lmkd|am_kill' | grep -w "$pid" | tail -1
fi
[ "$read" = yes ] || echo unreadable
:
