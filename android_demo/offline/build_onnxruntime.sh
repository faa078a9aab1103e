#!/usr/bin/env bash
# ONNX Runtime's Java API and its JNI library for this machine, from Debian's source, against the
# library of a Python wheel (a newer one: ONNX Runtime's C interface only grows).
#   build_onnxruntime.sh SOURCE.tar.xz WHEEL.whl DEST   ->   DEST/onnxruntime.jar, DEST/native/*.so
set -euo pipefail
source=$1 wheel=$2 dest=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{src,classes,headers,config} "$dest/native"
tar xJf "$source" -C "$work/src" --strip-components=1 --wildcards '*/java/src/main/*' \
  '*/include/onnxruntime/core/*' '*/orttraining/orttraining/training_api/include/*'
version=$(basename "$source" | sed 's/onnxruntime_\([0-9.]*\).*/\1/')

unzip -qoj "$wheel" 'onnxruntime/capi/libonnxruntime.so.*' -d "$work"
mv "$work"/libonnxruntime.so.* "$dest/native/libonnxruntime.so" # the name that the Java API asks for

java=$work/src/java/src/main
find "$java/java" "$java/jvm" -name '*.java' -not -name module-info.java >"$work/sources"
javac --release 8 -nowarn -Xlint:-options -h "$work/headers" -d "$work/classes" "@$work/sources"
jar --create --file "$dest/onnxruntime.jar" -C "$work/classes" .

jdk=$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")
printf '#pragma once\n#define ORT_VERSION "%s"\n' "$version" >"$work/config/onnxruntime_config.h"
includes=("$work/config" "$work/headers" "$work/src/include" "$work/src/include/onnxruntime"
  "$work/src/include/onnxruntime/core/session" "$jdk/include" "$jdk/include/linux"
  "$work/src/orttraining/orttraining/training_api/include")
while read -r folder; do
  includes+=("$folder")
done < <(find "$work/src/include/onnxruntime/core/providers" -type d)
gcc -O1 -fPIC -shared -w -o "$dest/native/libonnxruntime4j_jni.so" "${includes[@]/#/-I}" \
  "$java"/native/*.c "$dest/native/libonnxruntime.so" -Wl,-rpath,'$ORIGIN'
