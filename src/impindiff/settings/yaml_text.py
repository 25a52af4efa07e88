"""YAML 1.2: plain values, keys and lists; no tags, no aliases, no duplicate keys."""

import io
import json
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import MaxDepthExceededError
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter

from impindiff.errors import ImpindiffError

_TAG = "tag:yaml.org,2002:"
_KINDS = {"int": "an integer", "float": "a number", "bool": "true or false"}
# Far more than any configuration has; the parser recurses once per level.
DEEPEST = 40


class NotYAMLError(ImpindiffError):
    """A fault in a YAML text and its position, on one line."""


class _Constructor(SafeConstructor):
    def construct_object(self, node: Any, deep: bool = False) -> Any:
        # An alias may contain itself, or expand a billion times.
        if node.anchor is not None:
            raise _refusal("anchors and aliases are not taken", node.start_mark)
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError):
            kind = _KINDS[str(node.tag).removeprefix(_TAG)]
            text = str(node.value)
            shown = f"{text[:40]}..." if len(text) > 40 else text
            problem = f"'{shown}' is not {kind}; text needs quotes"
            raise _refusal(problem, node.start_mark) from None

    def construct_text(self, node: Any) -> str:
        text = self.construct_scalar(node)
        if any("\ud800" <= c <= "\udfff" for c in text):
            raise _refusal("half of a character stands alone", node.start_mark)
        return text

    def refuse_tag(self, node: Any) -> None:
        tag = str(node.tag).replace(_TAG, "!!")
        raise _refusal(f"the tag {tag} is not taken; leave it out", node.start_mark)

    def flatten_mapping(self, node: Any) -> None:
        pass  # << is an ordinary key

    def check_mapping_key(
        self, node: Any, key_node: Any, mapping: Any, key: Any, value: Any
    ) -> bool:
        if not isinstance(key, str):
            shown = f" '{key_node.value:.60}'" if isinstance(key_node, ScalarNode) else ""
            raise _refusal(f"key{shown} is not text", key_node.start_mark)
        if key in mapping:
            raise _refusal(f"key '{key}' is given twice", key_node.start_mark)
        return True


_Constructor.yaml_constructors = {}
for _name in ("null", "bool", "int", "float", "seq", "map"):
    _Constructor.add_default_constructor(_name)
for _name in ("str", "timestamp", "merge", "value"):  # 2020-01-01, << and = are text
    _Constructor.add_constructor(f"{_TAG}{_name}", _Constructor.construct_text)
_Constructor.add_constructor(None, _Constructor.refuse_tag)


class _Representer(SafeRepresenter):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> ScalarNode:
        # other styles do not preserve all line endings
        style = None if text.isprintable() else '"'
        return self.represent_scalar(f"{_TAG}str", text, style)


_Representer.add_representer(str, _Representer.represent_text)


def parse_yaml(text: str) -> Any:
    """Parse YAML text: numbers, text, truth values, null, lists and mappings.

    **Raises:** `NotYAMLError` for text that is not YAML, anchors and aliases, tags other than those
    that YAML would choose itself, keys that are not text or are given twice, nesting of more than
    40 levels, integers of more than 4300 digits, and invalid characters.
    """
    try:
        return _yaml().load(text)
    except MaxDepthExceededError as error:
        raise _refusal("it is nested too deeply", error.problem_mark) from None
    except MarkedYAMLError as error:
        raise _refusal(error.problem or error.context, error.problem_mark) from None
    except (YAMLError, ValueError, UnicodeError) as error:
        raise NotYAMLError(" ".join(str(error).split())) from None


def write_yaml(value: Any) -> str:
    """YAML text that `parse_yaml` reads back to an equal value, keys in their order."""
    stream = io.StringIO()
    writer = _yaml()
    writer.default_flow_style = False
    writer.dump(value, stream)
    return stream.getvalue()


def one_line(value: Any) -> str:
    """The value in YAML on one line: verbatim where it reads back unchanged, else JSON.

    Numbers in it must be finite.
    """
    if isinstance(value, str):
        try:
            if parse_yaml(value) == value:
                return value
        except NotYAMLError:
            pass
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)


def _yaml() -> YAML:
    found = YAML(typ="safe", pure=True)
    found.Constructor, found.Representer = _Constructor, _Representer
    found.sort_base_mapping_type_on_output = False  # pyright: ignore[reportAttributeAccessIssue]
    found.allow_unicode = True
    found.max_depth = DEEPEST
    found.composer.warn_double_anchors = False  # refused anyway
    return found


def _refusal(problem: Any, mark: Any) -> NotYAMLError:
    where = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
    return NotYAMLError(f"{' '.join(str(problem).split())}{where}")
