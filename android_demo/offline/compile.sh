#!/usr/bin/env bash
# Compiles what runs on a JVM, a folder each: core, core-test, engine-onnx, host, and app-test, the
# tests of the app with those of its classes that use nothing of Android's.
# Prints the folder that holds them; for the same sources it is the same one, made once.
#   compile.sh [OUT]      OUT: out/android
# Exit: 3 a tool or package is missing, 1 the sources do not compile.
set -euo pipefail
offline=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
demo=$(dirname "$offline")
mkdir -p "${1:-$demo/../out/android}"
out=$(cd "${1:-$demo/../out/android}" && pwd)
tools=${PAREDOWN_ANDROID_TOOLS:-$HOME/.cache/paredown/android-tools}
onnxruntime=$tools/onnxruntime/onnxruntime.jar
junit=/usr/share/java/junit4.jar:/usr/share/java/hamcrest-core.jar
for needed in "$onnxruntime" ${junit//:/ }; do
  [ -f "$needed" ] || { echo "no $needed" >&2; exit 3; }
done

sources() { [ ! -d "$demo/$1" ] || find "$demo/$1" -name '*.java' | sort; }

compile() { # FOLDER SOURCES CLASSPATH [OPTION...]
  local folder=$work/$1 list=$work/list classpath=$3
  sources "$2" >"$list"
  shift 3
  mkdir "$folder"
  [ ! -s "$list" ] || javac --release 11 -proc:none -Xlint:all,-options -Werror -encoding UTF-8 \
    -cp "$classpath" -d "$folder" "$@" "@$list" >&2
}

exec 9>"$out/.classes.lock"
flock 9
key=$({ cat "$offline/compile.sh" "$onnxruntime"
  for module in core/src engine-onnx/src/main host/src/main app/src; do
    sources "$module" | while read -r file; do echo "$file"; cat "$file"; done
  done; } | sha256sum | cut -c 1-16)
made=$out/classes-$key
if [ ! -d "$made" ]; then
  # Folders of other sources go once nothing can be using them any more.
  find "$out" -maxdepth 1 -name 'classes-*' -mmin +120 -exec rm -rf {} +
  work=$(mktemp -d "$out/.classes.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  compile core core/src/main ""
  compile core-test core/src/test "$work/core:$junit"
  compile engine-onnx engine-onnx/src/main "$work/core:$onnxruntime"
  compile host host/src/main "$work/core:$work/engine-onnx:$onnxruntime"
  compile app-test app/src/test "$work/core:$junit" -sourcepath "$demo/app/src/main/java" -implicit:class
  rm -f "$work/list"
  mv "$work" "$made"
  trap - EXIT
fi
echo "$made"
