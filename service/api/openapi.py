"""OpenAPI of operations that read their bodies themselves: encodings, examples and problems."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.api.problems import Code
from service.api.request import Fields

REF = "#/components/schemas/{model}"

PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "enum": [code.code for code in Code]},
        "request_id": {"type": "string"},
    },
}


def _problems() -> dict[int | str, dict[str, Any]]:
    by_status: dict[int, list[str]] = {}
    for code in Code:
        by_status.setdefault(code.status, []).append(code.code)
    return {
        status: {
            "description": "A problem: " + ", ".join(codes),
            "content": {"application/problem+json": {"schema": PROBLEM}},
        }
        for status, codes in by_status.items()
    }


PROBLEMS = _problems()
PLAIN_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": response["description"],
        "content": {
            "application/json": {
                "schema": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
            }
        },
    }
    for status, response in PROBLEMS.items()
}
"""The same for clients that read `{"error": string}`."""


def reference(model: type[BaseModel]) -> dict[str, Any]:
    """A reference to a model's schema, which `add_models` puts into the document."""
    return {"$ref": REF.format(model=model.__name__)}


def json_request(model: type[BaseModel]) -> dict[str, Any]:
    """The body of an operation that reads its JSON itself."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": reference(model)}}}}


def label_set_request(model: type[BaseModel]) -> dict[str, Any]:
    """The body of `PUT /v1/label-sets/{id}`: JSON, or a form with files."""
    schema = {
        "type": "object",
        "required": ["labels"],
        "properties": {
            "labels": {"type": "array", "items": {"type": "string"}, "minItems": 1},
            "template": {"type": "string"},
        },
    }
    return {
        "description": "Examples come as `examples` of a label, or as file fields `examples.NAME` of a form.",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": reference(model)},
                "multipart/form-data": {
                    "schema": schema,
                    "encoding": {"labels": {"style": "form", "explode": True}},
                },
            },
        },
    }


def fields_of(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of each field of a model. Optional fields are shown as absent or set, never as null."""
    properties: dict[str, Any] = model.model_json_schema(ref_template=REF)["properties"]
    return {name: _present(schema) for name, schema in properties.items()}


def _present(schema: dict[str, Any]) -> dict[str, Any]:
    schema = {key: value for key, value in schema.items() if key != "title" and (key, value) != ("default", None)}
    branches = [each for each in schema.pop("anyOf", []) if each != {"type": "null"}]
    return {**schema, **branches[0]} if branches else schema


def add_models(app: FastAPI, models: Iterable[type[BaseModel]]) -> None:
    """Add the schemas of models that operations refer to, and that FastAPI does not see."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        _, schemas = models_json_schema([(model, "validation") for model in models], ref_template=REF)
        document.setdefault("components", {}).setdefault("schemas", {}).update(schemas["$defs"])
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation says


FIELDS = fields_of(Fields)
CLIP = {
    "type": "object",
    "required": ["data"],
    "additionalProperties": False,
    "properties": {"data": {"type": "string", "format": "byte"}, "name": {"type": "string"}},
}
FORM = {
    "type": "object",
    "required": ["audio"],
    "properties": {"audio": {"type": "array", "items": {"type": "string", "format": "binary"}}, **FIELDS},
}
JSON = {
    "type": "object",
    "required": ["audio"],
    "additionalProperties": False,
    "properties": {"audio": {"oneOf": [{"type": "array", "items": CLIP, "minItems": 1}, CLIP]}, **FIELDS},
}
SCORE = {
    "type": "object",
    "properties": {"label": {"type": "string"}, "score": {"type": "number"}, "similarity": {"type": "number"}},
}
EVENT = {
    "type": "object",
    "properties": {
        "label": {"type": "string"},
        "start_s": {"type": "number"},
        "end_s": {"type": "number"},
        "score": {"type": "number"},
    },
}
ANSWER_EXAMPLE = {
    "model": {"name": "anysound-small", "fingerprint": "1a28192e…"},
    "activation": "softmax",
    "template": "this is a sound of {label}",
    "results": [
        {
            "name": "crow.flac",
            "duration_s": 0.481,
            "scores": [
                {"label": "crow", "score": 0.9973, "similarity": 0.464},
                {"label": "dog", "score": 0.0018, "similarity": 0.088},
                {"label": "a person speaking", "score": 0.0007, "similarity": 0.035},
                {"label": "piano", "score": 0.0002, "similarity": -0.049},
            ],
        }
    ],
}
"""The answer to the first request of README.md. A test makes it again and compares."""
JSON_EXAMPLES = {
    "two labels": {
        "summary": "One clip, plain labels",
        "value": {"audio": [{"name": "crow.flac", "data": "ZkxhQw=="}], "labels": ["crow", "dog"]},
    },
    "prompts": {
        "summary": "Labels with prompts, independent scores, and the open-set score",
        "value": {
            "audio": [{"data": "ZkxhQw=="}],
            "labels": [
                "dog",
                {"name": "talk", "prompts": ["a person speaking"], "negative_prompts": ["a person singing"]},
            ],
            "activation": "sigmoid",
            "none_of_these": True,
        },
    },
}
CLASSIFY: dict[str, Any] = {
    "description": (
        "One request in three encodings: a form with files, JSON with base64, or a recording as the body with the "
        "fields in the query. A clip that cannot be read gets its own `error`; the others still get scores. "
        "In a form, file fields called `examples.NAME` are examples of the label NAME."
    ),
    "parameters": [
        {"name": "X-Deadline-Ms", "in": "header", "schema": {"type": "number", "exclusiveMinimum": 0}},
        {"name": "X-Priority", "in": "header", "schema": {"type": "string", "enum": ["interactive", "bulk"]}},
    ],
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": FORM,
                "encoding": {"labels": {"style": "form", "explode": True}},
            },
            "application/json": {"schema": JSON, "examples": JSON_EXAMPLES},
            "audio/*": {"schema": {"type": "string", "format": "binary"}},
            "video/*": {"schema": {"type": "string", "format": "binary"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    "responses": {
        "200": {
            "description": "Scores, best first.",
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "properties": {
                            "model": {"type": "object"},
                            "activation": {"type": "string"},
                            "template": {"type": "string"},
                            "results": {
                                "type": "array",
                                "items": {
                                    "type": "object",
                                    "required": ["name"],
                                    "properties": {
                                        "name": {"type": "string"},
                                        "duration_s": {"type": "number"},
                                        "scores": {"type": "array", "items": SCORE},
                                        "timeline": {"type": "array", "items": {"type": "object"}},
                                        "events": {"type": "array", "items": EVENT},
                                        "none_of_these": {"type": "number"},
                                        "error": {"type": "object"},
                                    },
                                },
                            },
                            "warnings": {"type": "array", "items": {"type": "string"}},
                        },
                    },
                    "example": ANSWER_EXAMPLE,
                }
            },
        }
    },
}
HUGGING_FACE_PARAMETERS = {
    "candidate_labels": {
        "oneOf": [{"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}, {"type": "string"}],
        "description": "Labels to score, as a list or separated by commas.",
    },
    "label_set": {**FIELDS["label_set"], "description": "Id of a registered label set, instead of `candidate_labels`."},
    "hypothesis_template": {"type": "string", "description": "Prompt with exactly one {} or {label}."},
    "multi_label": {"type": "boolean", "description": "Score each label by itself (sigmoid)."},
    "function_to_apply": {"type": "string", "enum": ["softmax", "sigmoid", "none"]},
    "top_k": FIELDS["top_k"],
}
RECORDING = {"schema": {"type": "string", "format": "binary"}}
BASE64 = {"type": "string", "format": "byte"}
HUGGING_FACE: dict[str, Any] = {
    "description": (
        "The recording is the body, of any or no content type, with the parameters in the query; or it is base64 in "
        "JSON. Without labels, the default label set is scored and the best five are returned."
    ),
    "parameters": [{"name": name, "in": "query", "schema": schema} for name, schema in HUGGING_FACE_PARAMETERS.items()],
    "requestBody": {
        "required": True,
        "content": {
            "audio/*": RECORDING,
            "application/octet-stream": RECORDING,
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "additionalProperties": False,
                    "properties": {
                        "inputs": {
                            "oneOf": [
                                BASE64,
                                {"type": "object", "required": ["audio"], "properties": {"audio": BASE64}},
                                {"type": "object", "required": ["image"], "properties": {"image": BASE64}},
                            ]
                        },
                        "parameters": {
                            "type": "object",
                            "additionalProperties": False,
                            "properties": HUGGING_FACE_PARAMETERS,
                        },
                        "options": {"type": "object"},
                    },
                }
            },
        },
    },
    "responses": {
        "200": {
            "description": "Scores, best first.",
            "content": {
                "application/json": {
                    "schema": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["label", "score"],
                            "properties": {"label": {"type": "string"}, "score": {"type": "number"}},
                        },
                    }
                }
            },
        }
    },
}
INFER: dict[str, Any] = {
    "description": (
        "Inputs `audio` BYTES [n] and `labels` BYTES [m], output `scores` FP32 [n, m]; `similarity` and `labels` if "
        "they are asked for. In JSON, recordings are base64. In the binary form, Inference-Header-Content-Length is "
        "the length of the JSON, and the raw tensors follow it."
    ),
    "parameters": [
        {"name": "Inference-Header-Content-Length", "in": "header", "schema": {"type": "integer", "minimum": 0}}
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": REF.format(model="InferIn")}},
            "application/octet-stream": RECORDING,
        },
    },
    "responses": {
        "200": {
            "description": "Scores in the order of the labels.",
            "content": {"application/json": {"schema": {"type": "object"}}, "application/octet-stream": RECORDING},
        }
    },
}
