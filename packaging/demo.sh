#!/usr/bin/env bash
# The main job, on real DICOM: back up twice, lose everything but the vault and the identity, restore
# in an environment that never held the agent, and prove every file.
#
#   make demo                               with the small DICOM files that pydicom ships
#   SAFELIGHT_DICOM_DIR=/path make demo     with your own (they are only read)
#
# Everything happens below .demo, which is made anew.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$PWD/${VENV:-.venv}
demo=$PWD/.demo
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
agent() { "$venv/bin/safelight-agent" --config "$demo/hospital/agent.toml" "$@"; }
# From a JSON object on stdin: the values of the given keys, one a line.
pick() { "$venv/bin/python" -c 'import json, sys
found = json.load(sys.stdin)
for key in sys.argv[1:]: print(found[key])' "$@"; }
size() { numfmt --to=iec-i --suffix=B --format=%.1f "$1"; }

rm -rf "$demo/hospital" "$demo/safe" "$demo/vault" "$demo/restored" "$demo/kept-aside"
mkdir -p "$demo/hospital/archive" "$demo/safe"

say "1. An archive of real DICOM files"
dicom=${SAFELIGHT_DICOM_DIR:-$("$venv/bin/python" -c 'import pydicom.data, pathlib
print(pathlib.Path(pydicom.data.__file__).parent / "test_files")')}
cp -r "$dicom/." "$demo/hospital/archive/"
echo "$(find "$demo/hospital/archive" -type f | wc -l) files, $(du -sh "$demo/hospital/archive" | cut -f1)"

say "2. Keys, made offline; the agent asks to join, the administrator enrols it"
"$venv/bin/safelight-restore" --identity "$demo/safe/identity.key" keygen
cat >"$demo/hospital/agent.toml" <<T
[vault]
url = "file://$demo/vault"
trust = "$demo/safe/vault.trust"
accept_emulated_locks = true   # a directory only emulates Object Lock: fine for a demo

[agent]
name = "demo-hospital"
state_directory = "$demo/hospital/state"

[[source]]
name = "pacs"
kind = "tree"
path = "$demo/hospital/archive"
T
agent init
"$venv/bin/safelight-restore" --vault "file://$demo/vault" --identity "$demo/safe/identity.key" \
  enrol "$demo/hospital/state/enrolment.request"

say "3. The first night"
first=$(agent backup --json)
{ read -r files; read -r read_bytes; read -r stored_bytes; } < <(pick files bytes_read bytes_stored <<<"$first")
echo "$files files read, $(size "$read_bytes") became $(size "$stored_bytes") in the vault"

say "4. A day passes: one study is sent again, one patient's name is corrected. The second night"
study=$(find "$demo/hospital/archive" -mindepth 1 -maxdepth 1 -type d | sort | head -1)
[ -z "$study" ] || cp -r "$study" "$demo/hospital/archive/sent-again"
"$venv/bin/python" - "$demo/hospital/archive" <<'P'
import pathlib, sys
import pydicom
for path in sorted(pathlib.Path(sys.argv[1]).rglob("*CT*.dcm"))[:20]:
    try:
        instance = pydicom.dcmread(path)
        instance.PatientName = "Corrected^Name"
        instance.save_as(path)
    except Exception as error:  # some files are damaged on purpose: they stay as they are
        print(f"left alone: {path.name} ({type(error).__name__})")
P
second=$(agent backup --json)
{ read -r files; read -r unchanged; read -r read_bytes; read -r stored_bytes; } \
  < <(pick files files_unchanged bytes_read bytes_stored <<<"$second")
echo "$files files, $unchanged unchanged; of $(size "$read_bytes") new or changed, deduplication left $(size "$stored_bytes") to store"
"$venv/bin/safelight-restore" --vault "file://$demo/vault" --identity "$demo/safe/identity.key" snapshots

say "5. The disaster: archive, configuration, local state and agent keys are gone"
cp -a "$demo/hospital/archive" "$demo/kept-aside" # only to compare with at the end
rm -rf "$demo/hospital"
echo "left: the vault, and the identity in the safe"

say "6. A bare machine: a new environment without the agent's extra"
[ -x "$demo/bare/bin/python" ] || "$venv/bin/python" -m venv "$demo/bare"
"$demo/bare/bin/python" -m pip --quiet --disable-pip-version-check install .
restore() { "$demo/bare/bin/safelight-restore" --vault "file://$demo/vault" --identity "$demo/safe/identity.key" "$@"; }
restored=$(restore restore --target "$demo/restored" --json)
{ read -r files; read -r bytes; read -r failed; read -r seconds; } \
  < <(pick files bytes files_failed duration_seconds <<<"$restored")

say "7. The proof"
verified=$(restore verify --json)
{ read -r proved; read -r parsed; read -r unparsed; read -r problems; } \
  < <(pick files dicom_parsed dicom_failed problems <<<"$verified")
diff -r "$demo/kept-aside" "$demo/restored/pacs"
cat <<R

  restored                 $files files, $(size "$bytes") in $seconds s, $failed failed
  proved by SHA-256        $proved files
  parsed as DICOM          $parsed files; $unparsed parsed at backup time and do not now
  problems in the vault    $problems
  compared byte by byte    equal to what was lost
R
echo
echo "The vault is $demo/vault, what came back is $demo/restored/pacs."
