# assemble ROOT FOLDER MODE (HASH PATH)...: FOLDER/PATH becomes store/HASH: a hard link, and where
# the system allows none, what MODE says: a symbolic link (link) or a copy (copy).
root=$1 folder=$2 mode=$3
shift 3
rm -rf "$folder"
mkdir -p "$folder" || exit 1
while [ $# -gt 1 ]; do
  file=$root/store/$1 target=$folder/$2
  shift 2
  mkdir -p "${target%/*}" || exit 1
  chmod 755 "$file"
  ln "$file" "$target" 2>/dev/null && continue
  if [ "$mode" = copy ]; then cp "$file" "$target" 2>&1 && chmod 755 "$target"; else ln -s "$file" "$target"; fi || exit 1
done
