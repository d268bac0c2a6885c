"""What `/docs` says of the routes whose bodies FastAPI cannot see: three encodings, examples, problems."""

from __future__ import annotations

from typing import Any

from service.api.problems import Code

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

LABEL = {
    "oneOf": [
        {"type": "string", "minLength": 1},
        {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {
                "name": {"type": "string", "minLength": 1},
                "prompts": {"type": "array", "items": {"type": "string"}, "maxItems": 64},
                "negative_prompts": {"type": "array", "items": {"type": "string"}, "maxItems": 64},
            },
        },
    ]
}
FIELDS: dict[str, Any] = {
    "labels": {"type": "array", "items": LABEL, "minItems": 1, "description": "What to look for."},
    "label_set": {"type": "string", "description": "Id of a registered label set, instead of `labels`."},
    "template": {"type": "string", "description": "Prompt with exactly one {label}."},
    "activation": {"type": "string", "enum": ["softmax", "sigmoid"], "default": "softmax"},
    "top_k": {"type": "integer", "minimum": 1, "maximum": 1_000_000},
    "timeline": {"type": "boolean", "default": False, "description": "Also the scores of each window."},
    "none_of_these": {"type": "boolean", "default": False, "description": "Also the open-set score."},
}
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
ANSWER_EXAMPLE = {
    "model": {"name": "anysound-small", "fingerprint": "9c1f…"},
    "activation": "softmax",
    "template": "this is a sound of {label}",
    "results": [
        {
            "name": "crow.flac",
            "duration_s": 0.53,
            "scores": [
                {"label": "crow", "score": 0.97, "similarity": 0.58},
                {"label": "dog", "score": 0.03, "similarity": 0.44},
            ],
        },
        {"name": "notes.txt", "error": {"code": "unsupported_audio", "detail": "The clip is not audio …"}},
    ],
}
JSON_EXAMPLES = {
    "two labels": {
        "summary": "One clip, plain labels",
        "value": {"audio": [{"name": "crow.flac", "data": "ZkxhQw=="}], "labels": ["crow", "dog"]},
    },
    "prompts": {
        "summary": "Labels with prompts, each for itself, and the open-set score",
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
        "One request in three encodings: a form with files, JSON with base64, or the bare recording with the fields "
        "in the query. A clip that cannot be read gets its own `error`; the others still get scores."
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
                                        "none_of_these": {"type": "number"},
                                        "error": {"type": "object"},
                                    },
                                },
                            },
                        },
                    },
                    "example": ANSWER_EXAMPLE,
                }
            },
        }
    },
}
