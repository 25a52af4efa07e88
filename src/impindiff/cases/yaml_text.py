"""YAML 1.2: plain values, keys and lists; no tags, no aliases, no duplicate keys."""

import io
import json
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import MaxDepthExceededError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode
from ruamel.yaml.representer import SafeRepresenter

from impindiff.errors import ImpindiffError

_TAG = "tag:yaml.org,2002:"
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
_KINDS = {"int": "an integer", "float": "a number", "bool": "true or false", "null": "null"}
# Far more than any configuration has; what reads and checks it calls itself for each level.
DEEPEST = 40


class NotYAMLError(ImpindiffError):
    """What is wrong with a text, and where, on one line."""


class _Representer(SafeRepresenter):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> ScalarNode:
        # in other styles some ends of lines are not read back as they were
        style = None if text.isprintable() else '"'
        return self.represent_scalar(f"{_TAG}str", text, style)


_Representer.add_representer(str, _Representer.represent_text)


def parse_yaml(text: str) -> Any:
    """The value that a YAML text stands for: numbers, text, truth values, null, lists, mappings.

    **Raises:** `NotYAMLError` for text that is not YAML, anchors and aliases, tags other than those
    that YAML would choose itself, keys that are not text or are given twice, text nested more than
    40 levels deep, integers of more than 4300 digits, and characters that are none.
    """
    try:
        root = _reader().compose(text)
    except MaxDepthExceededError as error:
        raise _refusal("it is nested too deeply", error.problem_mark) from None
    except MarkedYAMLError as error:
        raise _refusal(error.problem or error.context, error.problem_mark) from None
    except (YAMLError, ValueError, UnicodeError) as error:
        raise NotYAMLError(" ".join(str(error).split())) from None
    return None if root is None else _value(root)


def write_yaml(value: Any) -> str:
    """YAML text that `parse_yaml` reads back to an equal value, keys in their order."""
    stream = io.StringIO()
    writer = _reader()
    writer.default_flow_style = False
    writer.Representer = _Representer
    writer.dump(value, stream)
    return stream.getvalue()


def one_line(value: Any) -> str:
    """The value in YAML on one line: text as it is if it reads back so, else JSON.

    Numbers in it are finite.
    """
    if isinstance(value, str):
        try:
            if parse_yaml(value) == value:
                return value
        except NotYAMLError:
            pass
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)


def _reader() -> YAML:
    found = YAML(typ="safe", pure=True)
    found.sort_base_mapping_type_on_output = False  # pyright: ignore[reportAttributeAccessIssue]
    found.allow_unicode = True
    found.max_depth = DEEPEST
    found.composer.warn_double_anchors = False  # they are refused
    return found


def _refusal(problem: Any, mark: Any) -> NotYAMLError:
    where = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
    return NotYAMLError(f"{problem}{where}")


def _value(node: Any) -> Any:
    # An alias may hold itself, or what it names a billion times.
    if node.anchor is not None:
        raise _refusal("anchors and aliases are not taken", node.start_mark)
    if isinstance(node, ScalarNode):
        return _scalar(node)
    if str(node.tag) not in (f"{_TAG}map", f"{_TAG}seq"):
        raise _tag_refusal(node)
    if not isinstance(node, MappingNode):
        return [_value(item) for item in node.value]
    found: dict[str, Any] = {}
    for key_node, item in node.value:
        key = _key(key_node)
        if key in found:
            raise _refusal(f"key '{key}' is given twice", key_node.start_mark)
        found[key] = _value(item)
    return found


def _key(node: Any) -> str:
    key = _value(node) if isinstance(node, ScalarNode) else None
    if not isinstance(key, str):
        shown = f" '{node.value:.60}'" if isinstance(node, ScalarNode) else ""
        raise _refusal(f"key{shown} is not text", node.start_mark)
    return key


def _scalar(node: ScalarNode) -> Any:
    kind, text = str(node.tag).removeprefix(_TAG), node.value
    try:
        if kind in ("str", "timestamp", "merge", "value"):  # 2020-01-01, << and = are text
            text.encode()
            return text
        if kind in ("bool", "null"):
            return _WORDS[text.lower()]
        if kind in ("int", "float") and "_" not in text:
            return _number(kind, text)
    except (KeyError, ValueError):
        pass
    if kind == "str":
        raise _refusal("half of a character stands alone", node.start_mark)
    if kind not in _KINDS:
        raise _tag_refusal(node)
    shown = f"{text[:40]}..." if len(text) > 40 else text
    raise _refusal(f"'{shown}' is not {_KINDS[kind]}; text needs quotes", node.start_mark)


def _number(kind: str, text: str) -> int | float:
    if kind == "int":
        return int(text, 8 if text[:2] == "0o" else 16 if text[:2] == "0x" else 10)
    if text[-4:].lower() in (".inf", ".nan"):
        text = text.replace(".", "", 1)
    return float(text)


def _tag_refusal(node: Any) -> NotYAMLError:
    tag = str(node.tag).replace(_TAG, "!!")
    return _refusal(f"the tag {tag} is not taken; leave it out", node.start_mark)
