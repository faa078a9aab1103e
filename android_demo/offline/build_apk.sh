#!/usr/bin/env bash
# Builds and signs the app without Gradle, Google's SDK or Maven: out/android/paredown-demo.apk.
#   build_apk.sh [OUT]
# It compiles, packs and verifies what Gradle would, against the same API; but ExecuTorch's fbjni
# classes and ONNX Runtime's libraries for phones cannot be had this way, so that the app starts and
# then says that it has no engine. Exit: 3 a package or tool is missing.
set -euo pipefail
offline=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
demo=$(dirname "$offline")
mkdir -p "${1:-$demo/../out/android}"
out=$(cd "${1:-$demo/../out/android}" && pwd)
tools=${PAREDOWN_ANDROID_TOOLS:-$HOME/.cache/paredown/android-tools}
python=${PYTHON:-python3}
framework=/usr/share/android-framework-res/framework-res.apk
api=$tools/api/android-34.jar
android23=$tools/dx/android-23.jar
engines=$tools/executorch/classes.jar:$tools/onnxruntime/onnxruntime.jar

for command in aapt2 javac proguard apksigner keytool; do
  command -v "$command" >/dev/null || { echo "no $command" >&2; exit 3; }
done
for file in "$framework" "$api" "$android23" ${engines//:/ } "$tools/dx/dx.jar"; do
  [ -f "$file" ] || { echo "no $file" >&2; exit 3; }
done

version() { sed -n "s/^$1 = \"\(.*\)\"$/\1/p" "$demo/gradle/libs.versions.toml"; }

exec 9>"$out/.apk.lock"
flock 9
apk=$out/paredown-demo.apk
key=$({ find "$demo" -type f \( -path '*/src/main/*' -o -path '*/offline/*' -o -name '*.toml' \) \
  -not -path '*/__pycache__/*' -print0 | sort -z | xargs -0 sha256sum
  cat "$tools"/*/.recipe; } | sha256sum)
if [ -f "$apk" ] && [ "$key" = "$(cat "$out/.apk.key" 2>/dev/null)" ]; then # nothing changed
  echo "$apk"
  exit 0
fi
work=$(mktemp -d "$out/.apk.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/classes" "$work/dex"

# Resources. Gradle puts the package (its namespace) and how libraries are packed into the manifest.
application=dev.paredown.demo
sed -e "s#<manifest #<manifest package=\"$application\" #" \
  -e "s#<application\$#<application android:extractNativeLibs=\"false\"#" \
  -e "s#\${executorchVersion}#offline build#" \
  "$demo/app/src/main/AndroidManifest.xml" >"$work/AndroidManifest.xml"
aapt2 compile --dir "$demo/app/src/main/res" -o "$work/resources.zip"
aapt2 link -o "$work/resources.apk" -I "$framework" --manifest "$work/AndroidManifest.xml" \
  --java "$work/generated" --debug-mode --min-sdk-version "$(version minSdk)" \
  --target-sdk-version "$(version targetSdk)" --version-code "$(version appCode)" \
  --version-name "$(version app)" "$work/resources.zip"

# Code.
for module in core engine-onnx engine-executorch app; do
  find "$demo/$module/src/main/java" -name '*.java'
done >"$work/sources"
find "$work/generated" -name '*.java' >>"$work/sources"
javac --release "$(version java)" -proc:none -Xlint:all,-options -Werror -encoding UTF-8 \
  -cp "$api:$android23:$engines" -d "$work/classes" "@$work/sources"

# Class files of Java 11 to those of Java 7, which dx takes. The library is that of Android 6: what
# our code asks for and is not in there is an error, unless newer-api.txt lists it.
cat >"$work/proguard.pro" <<CONF
-injars $work/classes
-injars $tools/executorch/classes.jar(!META-INF/**)
-injars $tools/onnxruntime/onnxruntime.jar(!META-INF/**)
-outjars $work/java7.jar
-libraryjars $android23
-target 1.7
-dontshrink
-dontoptimize
-dontobfuscate
-keepattributes *
-dontnote **
-dontwarn org.pytorch.**,ai.onnxruntime.**,kotlin.**,com.facebook.**,java.lang.invoke.**
-ignorewarnings
CONF
proguard "@$work/proguard.pro" >"$work/proguard.log" 2>&1 || { cat "$work/proguard.log" >&2; exit 1; }
unknown=$(grep '^Warning: .*: can.t find' "$work/proguard.log" | grep -vFf "$offline/newer-api.txt" || true)
if [ -n "$unknown" ]; then
  echo "newer than Android 6, and not in offline/newer-api.txt:" >&2
  echo "$unknown" >&2
  exit 1
fi
java -Xmx1g -cp "$tools/dx/dx.jar" com.android.dx.command.Main --dex \
  --min-sdk-version="$(version minSdk)" --output="$work/dex/classes.dex" "$work/java7.jar"

# The APK.
libraries=()
for abi in arm64-v8a x86_64; do
  libraries+=("lib/$abi/libexecutorch.so=$tools/executorch/$abi/libexecutorch.so")
done
"$python" "$offline/pack_apk.py" "$work/resources.apk" "$work/unsigned.apk" \
  "$work/dex/classes.dex" "${libraries[@]}"
keys=$out/debug.keystore
[ -f "$keys" ] || keytool -genkeypair -keystore "$keys" -storepass android -keypass android \
  -alias androiddebugkey -keyalg RSA -keysize 2048 -validity 10000 -dname 'CN=Android Debug' 2>/dev/null
apksigner sign --ks "$keys" --ks-pass pass:android --out "$work/signed.apk" "$work/unsigned.apk"
apksigner verify "$work/signed.apk"
rm -f "$out/.apk.key"
mv "$work/signed.apk" "$apk"
echo "$key" >"$out/.apk.key"
echo "$apk"
