#!/usr/bin/env bash
# Fetches what the offline Android build needs and Debian 12 has no package of, checksummed:
#   dx/dx.jar, dx/android-23.jar       class files to DEX; Java's library as Android 6 had it
#   api/android-34.jar                 Android 14's API, to compile against
#   executorch/classes.jar, ABI/*.so   ExecuTorch's Java API and libraries
#   onnxruntime/onnxruntime.jar, native/   ONNX Runtime's Java API, and its libraries for this machine
# into $PAREDOWN_ANDROID_TOOLS (~/.cache/paredown/android-tools). What is there already stays; a part
# appears whole or not at all. It asks the package sources that this machine is configured with.
# Exit: 0 all there, 3 something cannot be had here, 4 something is not what it was.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=${PAREDOWN_ANDROID_TOOLS:-$HOME/.cache/paredown/android-tools}
python=${PYTHON:-python3}
executorch_package=react-native-executorch@0.9.3
onnxruntime_wheel=1.31.1 # as in constraints.txt

missing() { echo "$*" >&2; exit 3; }

checked() { # SHA256 FILE
  [ -f "$2" ] || missing "nothing was downloaded to $2"
  echo "$1  $2" | sha256sum --check --quiet >&2 || { echo "$2 has another checksum" >&2; exit 4; }
}

# An apt of its own for another Debian release: the system's is neither read nor changed.
apt_of() { # RELEASE deb|deb-src COMMAND...
  local release=$1 kind=$2 mirror keys=/usr/share/keyrings/debian-archive-keyring.gpg
  shift 2
  local apt=$PWD/apt
  if [ ! -d "$apt" ]; then
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
      grep -v -- -security | head -n 1)
    [ -n "$mirror" ] || missing "apt has no package source"
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    : >"$apt/status"
    echo "$kind [signed-by=$keys] $mirror $release main" >"$apt/sources.list"
    cat >"$apt/apt.conf" <<CONF
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "1";
Acquire::http::Timeout "20";
CONF
    APT_CONFIG=$apt/apt.conf apt-get update -qq >&2 || missing "apt cannot read Debian $release"
  fi
  APT_CONFIG=$apt/apt.conf "$@" >&2 || missing "apt has no ${*: -1} of Debian $release"
}

part_dx() {
  apt_of bullseye deb apt-get download -qq dalvik-exchange libandroid-23-java
  checked 8fc128db7c27253d963eb9b33de79b197162a4749d2ba69019b2fd0664cbd7fe dalvik-exchange_*.deb
  checked 8af1b6df556971dda0a6da3536ea526a838e0c363afcdd454213d8bce94793e3 libandroid-23-java_*.deb
  for package in ./*.deb; do dpkg -x "$package" root; done
  cp -L root/usr/share/java/com.android.dx.jar "$1/dx.jar"
  cp -L root/usr/share/java/com.android.android-23.jar "$1/android-23.jar"
}

part_api() {
  apt_of trixie deb-src apt-get source -qq --download-only --tar-only android-platform-frameworks-base
  checked c1d64d78588fc7641923ad05b5ef12c3366f73b8bbca429f13f60c981e166d35 \
    android-platform-frameworks-base_*.orig.tar.xz
  tar xJf android-platform-frameworks-base_*.orig.tar.xz ./core/api/current.txt
  "$python" "$here/api_stubs.py" core/api/current.txt "$1/android-34.jar"
}

part_executorch() {
  command -v npm >/dev/null || missing "no npm"
  npm pack --silent --ignore-scripts --fetch-retries 1 --fetch-timeout 60000 \
    "$executorch_package" >/dev/null 2>&1 || missing "npm has no $executorch_package"
  checked 70a20a865b82f47ac46c82711d93c2038cf99eccbb9b287494219063f2217622 react-native-executorch-*.tgz
  local libraries=package/third-party/android/libs/executorch
  tar xzf react-native-executorch-*.tgz package/android/libs/classes.jar "$libraries"
  mv package/android/libs/classes.jar "$libraries"/* "$1"
}

part_onnxruntime() {
  apt_of trixie deb-src apt-get source -qq --download-only --tar-only onnxruntime
  checked 32df1f82bd6b07b18372c0f387133214905cbde7a586b3ad83f0ed0075f80273 onnxruntime_*.orig.tar.xz
  "$python" -m pip download -qq --no-deps --only-binary=:all: --python-version 3.11 \
    --platform manylinux_2_28_x86_64 "onnxruntime==$onnxruntime_wheel" >&2 ||
    missing "pip has no onnxruntime $onnxruntime_wheel"
  checked 5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f onnxruntime-*.whl
  "$here/build_onnxruntime.sh" onnxruntime_*.orig.tar.xz onnxruntime-*.whl "$1"
}

# What a part is made from: another recipe makes it again.
recipe_of() { # PART
  { declare -f "part_$1" apt_of
    case $1 in
      api) cat "$here/api_stubs.py" "$here/class_file.py" ;;
      executorch) echo "$executorch_package" ;;
      onnxruntime) echo "$onnxruntime_wheel"; cat "$here/build_onnxruntime.sh" ;;
    esac; } | sha256sum
}

fetch() { # PART
  local part=$1 work recipe
  recipe=$(recipe_of "$part")
  [ "$recipe" != "$(cat "$tools/$part/.recipe" 2>/dev/null || true)" ] || return 0
  work=$(mktemp -d "$tools/.$part.XXXXXX")
  trap "rm -rf '$work'" EXIT
  mkdir "$work/made"
  cd "$work"
  "part_$part" "$work/made"
  echo "$recipe" >"$work/made/.recipe"
  rm -rf "${tools:?}/$part"
  mv "$work/made" "$tools/$part"
  echo "fetched $part" >&2
}

for command in apt-get dpkg javac gcc flock; do
  command -v "$command" >/dev/null || missing "no $command: tests/emulation/install.sh installs it on Debian"
done
[ "$(uname -m)" = x86_64 ] || missing "the offline Android build runs on x86-64 only"
mkdir -p "$tools"
exec 9>"$tools/.lock"
flock 9
find "$tools" -maxdepth 1 -name '.*.??????' -type d -exec rm -rf {} + # of a run that was killed
jobs=()
for part in dx api executorch onnxruntime; do
  (fetch "$part") &
  jobs+=($!)
done
status=0
for job in "${jobs[@]}"; do
  code=0
  wait "$job" || code=$?
  case $code in
    0) ;;
    3) [ "$status" != 0 ] || status=3 ;;
    *) status=$code ;; # a wrong checksum is no reason to skip
  esac
done
exit "$status"
