# clean ROOT KEEP HASH...: with KEEP=yes nothing goes, and later sessions leave it too; else what
# this session brought, and everything where nothing was ever kept.
root=$1 keep=$2
shift 2
if [ "$keep" = yes ]; then
  : >"$root/kept"
elif [ -e "$root/kept" ]; then
  for hash in "$@"; do rm -f "$root/store/$hash"; done
else
  rm -rf "$root/store"
fi
exit 0
