"""croissant.json: the release in the MLCommons Croissant 1.0 vocabulary (http://mlcommons.org/croissant/1.0).

Every parquet file is a FileObject with a path relative to the release and its SHA-256, so it can be read with no
network, and one RecordSet, whose fields are the table's columns. What is nested in a column is a field of its own
(`videos.exterior_1.sha256`), but for lists of structs inside structs (`privacy.detectors`), which Croissant cannot say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa

from bad_robot_behavior.builder.features import TABLES, VIDEO_CONFIG, VIDEO_SCHEMA, arrow_schema
from bad_robot_behavior.schema import Recipe, ReleaseManifest

_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataBiases": "cr:dataBiases",
    "dataCollection": "cr:dataCollection",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "personalSensitiveInformation": "cr:personalSensitiveInformation",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant(recipe: Recipe, manifest: ReleaseManifest) -> str:
    """The text of croissant.json."""
    tables = [file for file in manifest.files if _is_table(file.path)]
    licenses = sorted({verdict.license for verdict in manifest.licenses if verdict.allowed and verdict.license})
    data = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": recipe.name,
        "description": recipe.description,
        "version": manifest.version,
        "license": [f"https://spdx.org/licenses/{spdx}.html" for spdx in licenses],
        "citeAs": _citation(recipe, manifest),
        "keywords": ["robotics", "reward model", "failure", "preferences"],
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": file.path,
                "name": file.path,
                "contentUrl": file.path,
                "contentSize": f"{file.size_bytes} B",
                "encodingFormat": "application/x-parquet",
                "sha256": file.sha256,
            }
            for file in tables
        ],
        "recordSet": [_record_set(file.path) for file in tables],
    }
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def _citation(recipe: Recipe, manifest: ReleaseManifest) -> str:
    """How to name this release: itself and those whose rollouts it holds."""
    owners = sorted({verdict.attribution for verdict in manifest.licenses if verdict.allowed and verdict.attribution})
    return f"{recipe.title}, version {manifest.version}." + (f" Rollouts: {'; '.join(owners)}." if owners else "")


def _is_table(path: str) -> bool:
    folder, _, name = path.partition("/")
    return folder in (*TABLES, VIDEO_CONFIG) and "-of-" in name and name.endswith(".parquet")


def _record_set(path: str) -> dict[str, Any]:
    folder, _, name = path.partition("/")
    split, number, *_ = name.split("-")
    identity = f"{folder}/{split}-{number}"
    schema = arrow_schema(TABLES[folder]) if folder in TABLES else VIDEO_SCHEMA
    record_set: dict[str, Any] = {
        "@type": "cr:RecordSet",
        "@id": identity,
        "name": identity,
        "description": f"Config {folder}, split {split}, file {int(number)}.",
        "field": [field for column in schema for field in _fields(identity, path, column)],
    }
    if folder in TABLES:
        record_set["key"] = {"@id": f"{identity}/{schema.names[0]}"}
    return record_set


def _fields(identity: str, path: str, column: pa.Field) -> Iterator[dict[str, Any]]:
    """One field for each number, text or list of these in a column."""
    if column.name == "video":
        leaves = [_Leaf("bytes", "sc:VideoObject", repeated=False)]
    else:
        leaves = list(_leaves(column.type, "", repeated=False))
    for leaf in leaves:
        name = f"{column.name}.{leaf.path}" if leaf.path and column.name != "video" else column.name
        source: dict[str, Any] = {"fileObject": {"@id": path}, "extract": {"column": column.name}}
        if leaf.path:
            source["transform"] = {"jsonPath": leaf.path}
        field: dict[str, Any] = {"@type": "cr:Field", "@id": f"{identity}/{name}", "name": name}
        field["dataType"] = leaf.data_type
        if leaf.repeated:
            field["repeated"] = True
        yield {**field, "source": source}


class _Leaf(NamedTuple):
    path: str  # JSON path inside the column, empty for a plain column
    data_type: str
    repeated: bool


def _leaves(kind: pa.DataType, path: str, *, repeated: bool) -> Iterator[_Leaf]:
    if pa.types.is_struct(kind):
        for i in range(kind.num_fields):
            part = kind.field(i)
            yield from _leaves(part.type, f"{path}.{part.name}" if path else part.name, repeated=repeated)
    elif pa.types.is_list(kind):
        inner = kind.value_type
        if pa.types.is_struct(inner) and path:
            return  # a JSON path gives the first match only, so a list of structs inside a struct has no field
        yield from _leaves(inner, path, repeated=True)
    else:
        yield _Leaf(path, _scalar(kind), repeated)


def _scalar(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    if pa.types.is_floating(kind):
        return "sc:Float"
    return "sc:Text"
