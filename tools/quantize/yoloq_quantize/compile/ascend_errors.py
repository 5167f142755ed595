# SPDX-License-Identifier: Apache-2.0
"""What ATC says when it fails, as one line: what happened, which node, what to do. Codes and texts as in the sources of
its error registry; older releases word some of them otherwise."""

from __future__ import annotations

import re

LONGEST = 300
OPTYPE = r"ai\.onnx::(\d+)::(\w+)"

# (expression, meaning), the first that is found counts; {0}, {1} are what its groups found.
SAYINGS = (
    (
        rf"(?:E16002|E19010|E10501).*?Op \[([^\s,\[\]]+), optype \[{OPTYPE}",
        "it has no operator {2} of opset {1}, which is node {0}; export with a lower opset, or cut the model before it",
    ),
    (rf"(?:E16002|E19010|E10501).*?{OPTYPE}", "it has no operator {1} of opset {0}; export with a lower opset"),
    (
        r"E10501.*?(?:for|type) \[?(\w+)",
        "it has no operator {0} for this chip; install the operator package of the chip",
    ),
    (
        r"E10001.*?Value \[?(\S*?)\]? for (?:parameter )?\[?(?:--)?soc_version\]?",
        "it does not know the chip {0}; --soc wants the Name that `npu-smi info` shows, with Ascend before it",
    ),
    (
        r"E10001.*?Value \[?(.*?)\]? for (?:parameter )?\[?(?:--)?([\w]+)\]? is invalid\. *(?:Reason: *)?(.*)",
        "it refuses {0!r} for --{1}: {2}; its version may be older than the option",
    ),
    (
        r"(?:unknown|undefined) (?:command line )?(?:flag|option)\W+(\w+)",
        "it has no option --{0}; its version is too old",
    ),
    (r"E10016.*?(?:Opname|opname) \[?(\S+?)\]? ", "it does not find the node {0}, which an option names"),
    (r"E10002.*?Reason: *(.*)", "it refuses the input's shape: {0}"),
    (r"E10054|E10004", "a value that it needs is empty"),
    (r"E1300[0-6].*?\[?(/[^\s\]]+)", "it cannot read or write {0}"),
    (r"E13010.*?(\w+)", "it has no plug-in for the operator {0}; install the operator package of the chip"),
    (r"E13024.*?(\w+)", "the environment is not complete ({0}); source CANN's set_env.sh first"),
    (r"E14001.*?(?:Op|op) \[?([\w./:-]+)", "it cannot compile the operator {0} with these numbers"),
    (r"E16001", "the graph has no input"),
    (r"E16005", "the model mixes opsets of one domain; export it anew"),
    (r"cannot pickle 'FrameLocalsProxy'", "its Python is too new; CANN up to 8.1 wants Python 3.7 to 3.10"),
    (r"np\.float_|`np\.float_` was removed", "its Python has NumPy 2; CANN wants numpy<2"),
    (r"ModuleNotFoundError: No module named '([\w.]+)'", "its Python lacks {0}: pip install it for CANN's Python"),
    (r"error while loading shared libraries: (\S+):", "{0} is not found; source CANN's set_env.sh first"),
    (r"No space left on device", "the disk is full; TMPDIR names the folder that it works in"),
    (r"(?:std::bad_alloc|MemoryError|Killed)", "it ran out of memory; compile on a machine with more"),
    (r"(E[A-Z0-9]{5}\b.*)", "{0}"),
)


def explain(said: str, code: int) -> str:
    """One line of what ATC said when it ended with `code`."""
    for pattern, meaning in SAYINGS:
        found = re.search(pattern, said)
        if found:
            return meaning.format(*(_word(index, group) for index, group in enumerate(found.groups()))).strip()
    if code < 0:
        return f"it was ended by signal {-code}" + (", for want of memory" if code == -9 else "")
    return f"exit code {code}, and it does not say why"


def _word(index: int, group: str | None) -> str:
    return "" if group is None else " ".join(group.split())[:LONGEST]
