# verify ROOT SUFFIX HASH...: "good HASH" or "bad HASH" for store/HASH+SUFFIX. A good part becomes
# whole, a bad file is removed.
root=$1 suffix=$2
shift 2
for hash in "$@"; do
  file=$root/store/$hash
  if [ "$(sha256sum <"$file$suffix" | cut -d' ' -f1)" = "$hash" ]; then
    [ -z "$suffix" ] || mv "$file$suffix" "$file" || exit 1
    echo "good $hash"
  else
    rm -f "$file$suffix"
    echo "bad $hash"
  fi
done
