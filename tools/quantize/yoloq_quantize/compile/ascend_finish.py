# SPDX-License-Identifier: Apache-2.0
"""Of a build kit: writes the package of the .om files that ATC made. Runs where CANN is, on any Python from 3.7 on,
with nothing but the standard library; a copy of it lies in every kit, beside ascend_errors.py."""

# ruff: noqa: UP031

import glob
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile

LATER = "@CANN@"


class KitError(Exception):
    """One line: what happened, and what to do."""


def main(arguments):
    here = os.path.dirname(os.path.abspath(__file__))
    try:
        if len(arguments) == 3 and arguments[0] == "--explain":
            return explain(here, arguments[1], int(arguments[2]))
        if len(arguments) != 1:
            raise KitError("give the package to write: finish.py NAME.yoloq")
        finish(here, arguments[0])
    except (KitError, OSError) as error:
        sys.stderr.write("finish.py: error: %s\n" % " ".join(str(error).split()))
        return 1
    print("%s is finished" % arguments[0])
    return 0


def explain(here, log, code):
    """What ATC's words mean, in one line."""
    sys.path.insert(0, here)
    from ascend_errors import explain as meaning

    with open(log, encoding="utf-8", errors="replace") as stream:
        said = stream.read()
    sys.stderr.write("build.sh: error: ATC failed: %s; its words are in atc.log\n" % meaning(said, code))
    return 1


def finish(here, package):
    with open(os.path.join(here, "package.json"), encoding="utf-8") as stream:
        plan = json.load(stream)
    files = {"labels.txt": read(os.path.join(here, "labels.txt"))}
    for name, stem in plan["models"].items():
        files[name] = read(result(here, stem))
    manifest = plan["manifest"]
    found = version() or plan["otherwise"]
    for key, text in manifest["target"].items():
        manifest["target"][key] = text.replace(LATER, found)
    digests = {}
    for name in sorted(files):
        digests[name] = {"size": len(files[name]), "sha256": hashlib.sha256(files[name]).hexdigest()}
    manifest["files"] = digests
    text = (json.dumps(manifest, ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode("utf-8")
    files["manifest.json"] = text
    files["manifest.sha256"] = ("%s  manifest.json\n" % hashlib.sha256(text).hexdigest()).encode()
    write(package, files)


def result(here, stem):
    """ATC may put the system's name between the name it was given and .om."""
    pattern = re.compile(re.escape(stem) + r"(_\w+)?\.om$")
    found = [path for path in glob.glob(os.path.join(here, stem + "*.om")) if pattern.match(os.path.basename(path))]
    if len(found) != 1:
        raise KitError("there are %d files %s*.om; run build.sh first" % (len(found), stem))
    return found[0]


def version():
    """CANN's, as its installer noted it."""
    home = os.environ.get("ASCEND_HOME_PATH")
    if not home and shutil.which("atc"):
        home = os.path.dirname(os.path.dirname(os.path.realpath(shutil.which("atc"))))
    for pattern in ("*-linux/ascend_*_install.info", "ascend_*_install.info", "version.cfg"):
        for path in sorted(glob.glob(os.path.join(home or "/nowhere", pattern))):
            match = re.search(r"version\w*=\[?(?:\d+:)?([\w.]+)", read(path).decode("utf-8", "replace"))
            if match:
                return match.group(1)
    return None


def read(path):
    with open(path, "rb") as stream:
        return stream.read()


def write(package, files):
    """Beside its place, then renamed; on failure nothing is left, and an old package stays."""
    package = os.path.abspath(package)
    if os.path.exists(package):
        raise KitError("%s exists already; remove it, or name another folder" % package)
    folder = tempfile.mkdtemp(prefix=".%s." % os.path.basename(package), dir=os.path.dirname(package))
    try:
        os.chmod(folder, 0o755)
        for name, data in files.items():
            with open(os.path.join(folder, name), "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        os.rename(folder, package)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
