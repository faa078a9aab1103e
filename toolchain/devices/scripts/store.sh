# store ROOT HASH...: for each file "HASH whole|part|none BYTES", then "free KIBIBYTES".
root=$1
shift
size() { echo $(($(wc -c <"$1"))); }
for hash in "$@"; do
  file=$root/store/$hash
  if [ -f "$file" ]; then echo "$hash whole $(size "$file")"
  elif [ -f "$file.part" ]; then echo "$hash part $(size "$file.part")"
  else echo "$hash none 0"; fi
done
# shellcheck disable=SC2046 # its columns
set -- $(df -Pk "$root" | sed -n 2p)
echo "free $4"
