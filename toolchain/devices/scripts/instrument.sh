# instrument PACKAGE COMPONENT SPEC: one run of an app in a fresh process; says what `am` says. The
# app is no child of this script, so whatever ends the script must end the app: the reader of the
# pipe is in a session of its own, outlives a kill, and stops the app when nobody writes any more.
package=$1 component=$2 spec=$3
session=
command -v setsid >/dev/null 2>&1 && session=setsid
chmod 644 "$spec" || exit 1
# shellcheck disable=SC2086 # a word or none
am instrument -w -r -e spec "$spec" "$component" </dev/null 2>&1 |
  $session sh -c 'cat; am force-stop "$1" >/dev/null 2>&1 </dev/null' sh "$package"
