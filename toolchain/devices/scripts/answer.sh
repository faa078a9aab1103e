# answer REPORTS PACKAGE NAME: the file NAME that an app left in its reports folder, which then
# goes. Where the shell may not look into that folder, as the app (debug builds only). Status 9:
# there is none.
reports=$1 package=$2 name=$3
if cat "$reports/$name" 2>/dev/null; then
  rm -f "$reports/$name"
  exit 0
fi
for folder in files/reports "$reports"; do
  if run-as "$package" cat "$folder/$name" 2>/dev/null; then
    run-as "$package" rm -f "$folder/$name"
    exit 0
  fi
done
exit 9
