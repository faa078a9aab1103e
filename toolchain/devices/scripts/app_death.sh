# app_death PACKAGE: the last line of the system's log that tells why the app's process died, or
# "unreadable". What a run's regular end leaves there is no reason.
log=$(logcat -d -t 2000 -b all 2>/dev/null) || { echo unreadable; exit 0; }
printf '%s\n' "$log" | grep -F "$1" |
  grep -iE 'lowmemorykiller|lmkd|am_kill|am_proc_died|am_crash|am_anr|oom' |
  grep -viE 'finished inst|start instr|stop '"$1" | tail -n 1
:
