#!/usr/bin/env python3
"""Lists the public functions that have no example, from what rustdoc writes as JSON.

    cargo +nightly rustdoc --lib --all-features -- -Z unstable-options --output-format json
    .ci/examples.py target/doc/smol_gossip.json

Methods of traits count where the trait is made, not where it is implemented.
"""

import json
import sys


def public_functions(index, root):
    """Every function that can be named from outside, with its path."""
    seen = set()

    def kind(item):
        return next(iter(item["inner"]))

    def methods(item, path):
        body = item["inner"][kind(item)]
        if kind(item) == "trait":
            members = body["items"]
        else:
            impls = (index[str(one)]["inner"]["impl"] for one in body.get("impls", []) if str(one) in index)
            members = [member for one in impls if one["trait"] is None for member in one["items"]]
        for member in (index[str(one)] for one in members if str(one) in index):
            if kind(member) == "function" and member["visibility"] in ("public", "default"):
                yield member, f"{path}::{member['name']}"

    def walk(item, path):
        match kind(item):
            case "module":
                if (item["id"], path) in seen:
                    return
                seen.add((item["id"], path))
                for member in item["inner"]["module"]["items"]:
                    if str(member) in index:
                        member = index[str(member)]
                        yield from walk(member, f"{path}::{member['name']}")
            case "use":
                use = item["inner"]["use"]
                target = index.get(str(use["id"]))
                if target:
                    outer = path.rsplit("::", 1)[0]
                    yield from walk(target, outer if use["is_glob"] else f"{outer}::{use['name']}")
            case "function":
                yield item, path
            case "struct" | "enum" | "union" | "trait":
                yield from methods(item, path)

    found = {}
    for item, path in walk(index[str(root)], index[str(root)]["name"]):
        found.setdefault(item["id"], (item, path))
    return found.values()


failed = False
for name in sys.argv[1:]:
    with open(name, encoding="utf-8") as file:
        crate = json.load(file)
    functions = list(public_functions(crate["index"], crate["root"]))
    if not functions:
        sys.exit(f"{name}: no public functions: is the format another one?")
    missing = [(item, path) for item, path in functions if "```" not in (item["docs"] or "")]
    print(f"{name}: {len(functions)} public functions, {len(missing)} without an example")
    for item, path in missing:
        failed = True
        span = item["span"]
        print(f"  {path} ({span['filename']}:{span['begin'][0]})")
sys.exit(failed)
