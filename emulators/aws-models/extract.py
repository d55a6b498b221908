#!/usr/bin/env python3
"""Cuts the operations that the emulated AWS serves out of the models published with botocore.

    pip download botocore==1.44.5 --no-deps
    python3 emulators/aws-models/extract.py botocore-1.44.5-py3-none-any.whl

The models are Copyright Amazon.com, Inc. or its affiliates, under the Apache License 2.0; the documentation
inside them is left out, nothing else is changed.
"""

import gzip
import json
import pathlib
import sys
import zipfile

NOTICE = (
    "Cut out of botocore (Copyright Amazon.com, Inc. or its affiliates; Apache License 2.0) "
    "by extract.py: fewer operations, no documentation."
)
SERVICES = {
    "ecs": (
        "ecs/2014-11-13",
        """ContinueServiceDeployment DescribeClusters DescribeServiceDeployments DescribeServiceRevisions
        DescribeServices DescribeTaskDefinition DescribeTasks ListClusters ListServiceDeployments ListServices
        ListTaskDefinitions ListTasks RegisterTaskDefinition RunTask StopServiceDeployment StopTask TagResource
        UpdateService""",
    ),
    "logs": (
        "logs/2014-03-28",
        """CreateLogGroup CreateLogStream DescribeLogGroups DescribeLogStreams FilterLogEvents GetLogEvents
        GetQueryResults PutLogEvents StartQuery StopQuery""",
    ),
}
KEPT = ("type", "required", "enum", "member", "key", "value", "min", "max", "exception", "box")


def bare(shape):
    """A shape without its documentation."""
    kept = {key: shape[key] for key in KEPT if key in shape}
    for key in ("member", "key", "value"):
        if key in kept:
            kept[key] = kept[key]["shape"]
    if "members" in shape:
        kept["members"] = {name: member["shape"] for name, member in shape["members"].items()}
    return kept


def reached(shapes, roots):
    """The shapes that can be reached from some."""
    found, left = {}, list(roots)
    while left:
        name = left.pop()
        if name in found:
            continue
        found[name] = bare(shapes[name])
        left += found[name].get("members", {}).values()
        left += [found[name][key] for key in ("member", "key", "value") if key in found[name]]
    return found


def cut(model, names):
    operations, roots = {}, []
    for name in names.split():
        operation = model["operations"][name]
        sides = {side: operation[side]["shape"] for side in ("input", "output") if side in operation}
        errors = sorted(error["shape"] for error in operation.get("errors", []))
        operations[name] = {**sides, "errors": errors}
        roots += [*sides.values(), *errors]
    return operations, reached(model["shapes"], roots)


def rows(table):
    lines = [f"    {json.dumps(name)}: {json.dumps(table[name])}" for name in sorted(table)]
    return "{\n" + ",\n".join(lines) + "\n  }"


def main(wheel):
    version = pathlib.Path(wheel).name.split("-")[1]
    for service, (folder, names) in SERVICES.items():
        path = f"botocore/data/{folder}/service-2.json.gz"
        model = json.loads(gzip.decompress(zipfile.ZipFile(wheel).read(path)))
        operations, shapes = cut(model, names)
        text = (
            f'{{\n  "notice": {json.dumps(NOTICE)},\n'
            f'  "source": {json.dumps(f"botocore {version}: {path}")},\n'
            f'  "target": {json.dumps(model["metadata"]["targetPrefix"])},\n'
            f'  "operations": {rows(operations)},\n  "shapes": {rows(shapes)}\n}}\n'
        )
        (pathlib.Path(__file__).parent / f"{service}.json").write_text(text)


main(sys.argv[1])
