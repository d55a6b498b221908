#!/usr/bin/env python3
"""Cuts out of GitHub's OpenAPI description what the double of GitHub serves.

    npm pack @octokit/openapi@23.0.2 && tar xzf octokit-openapi-23.0.2.tgz package/generated/api.github.com.json
    python3 emulators/openapi/extract.py package/generated/api.github.com.json

reads routes.txt beside this file and writes github.json: JSON Schemas without descriptions and examples.
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).parent
DROPPED = {"description", "example", "examples", "title", "externalDocs", "deprecated", "default", "format"}


def schema_of(node, named=False):
    """OpenAPI 3.0's dialect as JSON Schema; `named` where the keys are names of properties."""
    if isinstance(node, list):
        return [schema_of(item) for item in node]
    if not isinstance(node, dict):
        return node
    if named:
        return {name: schema_of(value) for name, value in node.items()}
    if "$ref" in node:
        return {"$ref": "#/$defs/" + node["$ref"].rsplit("/", 1)[1]}
    out = {}
    for key, value in node.items():
        if key in DROPPED or key.startswith("x-") or key == "nullable":
            continue
        if key == "enum":
            out[key] = value
        else:
            out[key] = schema_of(value, named=key == "properties")
    if node.get("nullable") and "type" in out:
        out["type"] = [out["type"], "null"] if isinstance(out["type"], str) else out["type"]
        if "enum" in out and None not in out["enum"]:
            out["enum"] = out["enum"] + [None]
    elif node.get("nullable"):
        out = {"anyOf": [out, {"type": "null"}]}
    return out


def references(node, found):
    if isinstance(node, dict):
        if "$ref" in node:
            found.add(node["$ref"].rsplit("/", 1)[1])
        for value in node.values():
            references(value, found)
    elif isinstance(node, list):
        for value in node:
            references(value, found)


def content(part, components):
    if part is None:
        return None
    if "$ref" in part:
        part = components[part["$ref"].split("/")[-2]][part["$ref"].split("/")[-1]]
    kinds = part.get("content", {})
    for kind in ("application/json", *kinds):
        if kind in kinds and "json" in kind:
            return schema_of(kinds[kind].get("schema", {}))
    return None


def main():
    description = json.load(open(sys.argv[1]))
    components = description["components"]
    lines = (HERE / "routes.txt").read_text().splitlines()
    routes = sorted({line.strip() for line in lines if line.strip() and not line.startswith("#")})
    out, needed, unknown = {}, {"basic-error", "validation-error"}, []
    for route in routes:
        method, path = route.split(" ", 1)
        operation = description["paths"].get(path, {}).get(method.lower())
        if operation is None:
            unknown.append(route)
            continue
        answers = {status: content(answer, components) for status, answer in operation["responses"].items()}
        entry = {"answers": answers}
        body = content(operation.get("requestBody"), components)
        if body is not None:
            entry["body"] = body
        references(entry, needed)
        out[route] = entry
    if unknown:
        sys.exit("GitHub does not describe:\n  " + "\n  ".join(unknown))
    defs, todo = {}, sorted(needed)
    while todo:
        name = todo.pop()
        if name in defs:
            continue
        defs[name] = schema_of(components["schemas"][name])
        more = set()
        references(defs[name], more)
        todo.extend(sorted(more - set(defs)))
    result = {
        "notice": "Cut by extract.py out of @octokit/openapi 23.0.2. Copyright (c) Octokit contributors, MIT License: see LICENSE beside this file.",
        "routes": out,
        "$defs": dict(sorted(defs.items())),
    }
    target = HERE / "github.json"
    # One line for each route and schema, so that a change can be read.
    with target.open("w") as file:
        file.write('{\n"notice": %s,\n' % json.dumps(result["notice"]))
        for index, part in enumerate(("routes", "$defs")):
            rows = [f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'), sort_keys=True)}" for name, value in result[part].items()]
            file.write(f'"{part}": {{\n' + ",\n".join(rows) + ("\n},\n" if index == 0 else "\n}\n}\n"))
    print(f"{len(out)} routes, {len(defs)} schemas, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
