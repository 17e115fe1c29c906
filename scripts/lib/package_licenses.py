"""Prints the licence texts of all crates in the program for TARGET, as their licences ask of those who pass a program on.

    package_licenses.py TARGET
"""

import json
import subprocess
import sys
from pathlib import Path

TARGET = sys.argv[1]


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments], capture_output=True, text=True, check=True).stdout


tree = cargo("tree", "--locked", "--package=fantail", f"--target={TARGET}", "--edges=normal", "--prefix=none", "--format={p}")
in_program = {tuple(line.split()[:2]) for line in tree.splitlines()}
packages = json.loads(cargo("metadata", "--locked", "--format-version=1"))["packages"]
crates = [crate for crate in packages if crate["source"] and (crate["name"], f"v{crate['version']}") in in_program]

# Most crates carry the same text of the Apache license; each text is printed once.
crates_by_text = {}
for crate in sorted(crates, key=lambda crate: crate["name"]):
    folder = Path(crate["manifest_path"]).parent
    files = sorted(file for file in folder.iterdir() if file.name.upper().startswith(("LICEN", "COPYING", "NOTICE")) and file.is_file())
    label = f"{crate['name']} {crate['version']} ({crate['license']})"
    if not files:
        crates_by_text.setdefault("(The crate carries no text of its license.)", []).append(label)
    for file in files:
        crates_by_text.setdefault(file.read_text(errors="replace").strip(), []).append(label)

print(f"The program contains {len(crates)} crates of others, under the licenses below, and the C library musl (MIT).")
for text, labels in crates_by_text.items():
    print("\n" + "=" * 80, *dict.fromkeys(labels), "-" * 80, text, sep="\n")
