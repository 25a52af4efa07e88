"""MkDocs hook: the pages on commands and configuration keys, from the program itself.

A page has `<!-- generated: NAME -->` where the text belongs.
"""

import json
from collections.abc import Iterator
from typing import Any

import typer

from impindiff.command.cli import app
from impindiff.problem import ProblemSettings
from impindiff.problems import PROBLEMS

USER_DEFINED = "user-defined problems"
_BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
_TYPES = {"string": "text", "boolean": "true or false", "object": "mapping", "array": "list"}
_HEAD = ["| key | type | default | meaning |", "|---|---|---|---|"]

Row = tuple[str, str, str, str]  # key, type, meaning, which of several groups of keys
Rows = dict[Row, str]  # -> default


def on_page_markdown(markdown: str, **_: Any) -> str:
    for name, content in {"commands": commands, "configuration": configuration}.items():
        marker = f"<!-- generated: {name} -->"
        if marker in markdown:
            markdown = markdown.replace(marker, content())
    return markdown


def commands() -> str:
    parts = []
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        context = command.make_context(name, [], resilient_parsing=True)
        usage = " ".join(["impindiff", name, *command.collect_usage_pieces(context)])
        parts += [f"## {name}", f"```text\n{usage}\n```", command.help or ""]
        rows = [_option(parameter) for parameter in command.params]
        shown = [row for row in rows if row is not None]
        if shown:
            parts.append("\n".join(["| | meaning |", "|---|---|", *shown]))
    return "\n\n".join(parts)


def _option(parameter: Any) -> str | None:
    if parameter.param_type_name == "argument":
        name = parameter.metavar or parameter.name.upper()
    else:
        value = "" if parameter.is_flag else f" {parameter.metavar or 'TEXT'}"
        name = ", ".join(parameter.opts) + value
    if not parameter.help:
        return None
    required = " (required)" if parameter.required else ""
    return f"| {_code(name)} | {_cell(parameter.help)}{required} |"


def configuration() -> str:
    """Every section of every problem's configuration; equal sections once."""
    schemas = {USER_DEFINED: ProblemSettings.model_json_schema()}
    schemas |= {name: problem.settings.model_json_schema() for name, problem in PROBLEMS.items()}
    sections: dict[str, dict[tuple[Row, ...], dict[str, Rows]]] = {}
    for problem, schema in schemas.items():
        for key, node in schema["properties"].items():
            if key == "problem":  # written by the program
                continue
            rows = dict(_rows(schema, key, node))
            nested = not (len(rows) == 1 and next(iter(rows))[0] == key)
            section = key if nested else "General"
            sections.setdefault(section, {}).setdefault(tuple(rows), {})[problem] = rows
    parts = []
    for section in sorted(sections, key=lambda name: name != "General"):
        variants = sections[section]
        parts.append(f"## {section if section == 'General' else _code(section)}")
        tables: dict[tuple[str, ...], list[str]] = {}
        for by_problem in variants.values():
            tables.setdefault(tuple(by_problem), []).extend(_table(by_problem))
        for problems, lines in tables.items():
            if len(problems) < len(schemas):
                parts.append(f"Of {', '.join(_named(name) for name in problems)}:")
            parts.append("\n".join([*_HEAD, *lines]))
    parts.append(
        "\\* Built-in problems have defaults of their own here; `config.yaml` of a run has them."
    )
    return "\n\n".join(parts)


def _named(problem: str) -> str:
    return problem if problem == USER_DEFINED else _code(problem)


def _table(by_problem: dict[str, Rows]) -> Iterator[str]:
    first = next(iter(by_problem.values()))
    for row, default in first.items():
        key, kind, meaning, _ = row
        same = all(rows[row] == default for rows in by_problem.values())
        shown = default if same else rf"{default} \*"
        yield f"| {_code(key)} | {kind} | {shown} | {_cell(meaning)} |"


def _rows(
    schema: dict[str, Any], key: str, node: dict[str, Any], default: Any = ..., group_of: str = ""
) -> Iterator[tuple[Row, str]]:
    """The keys at and below a node of a schema, each with its default."""
    default = node.get("default", ...) if default is ... else default
    meaning = node.get("description", "")
    options = [_resolved(schema, option) for option in _options(node)]
    groups = [option for option in options if "properties" in option]
    if not groups:
        kind = " or ".join(dict.fromkeys(_type(schema, option) for option in options))
        yield (
            (key, kind, meaning, group_of),
            "required" if default is ... else _code(json.dumps(default)),
        )
        return
    if len(groups) < len(options):
        yield (key, "section, or null", meaning, group_of), _code(json.dumps(default))
    for group in groups:
        chosen = _tag(group)
        given = default if isinstance(default, dict) else {}
        if chosen is not None and given.get(chosen[0]) != chosen[1]:
            given = {}
        for name, child in group["properties"].items():
            if len(groups) > 1 and chosen is not None and name == chosen[0]:
                text = group.get("description", "").split("\n")[0]
                yield (f"{key}.{name}", _code(chosen[1]), text, group_of), ""
                continue
            inside = f"{group_of} {group['title']}" if len(groups) > 1 else group_of
            yield from _rows(schema, f"{key}.{name}", child, given.get(name, ...), inside)


def _options(node: dict[str, Any]) -> list[dict[str, Any]]:
    return node.get("oneOf") or node.get("anyOf") or [node]


def _resolved(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    return schema["$defs"][node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node


def _tag(group: dict[str, Any]) -> tuple[str, str] | None:
    """The key whose only value chooses this group among others, and that value."""
    for name, child in group["properties"].items():
        if "const" in child:
            return name, child["const"]
    return None


def _type(schema: dict[str, Any], node: dict[str, Any]) -> str:
    if "enum" in node:
        return ", ".join(_code(str(value)) for value in node["enum"])
    if "const" in node:
        return _code(str(node["const"]))
    if "anyOf" in node:
        return " or ".join(_type(schema, _resolved(schema, option)) for option in node["anyOf"])
    kind = str(node.get("type", "any"))
    kind = _TYPES.get(kind, kind)
    if kind == "list" and "items" in node:
        kind = f"list of {_type(schema, _resolved(schema, node['items']))}"
    bounds = [f"{sign} {node[name]:.10g}" for name, sign in _BOUNDS.items() if name in node]
    return ", ".join([kind, *bounds])


def _code(text: str) -> str:
    # Python-Markdown keeps the backslash of an escaped bar inside backticks.
    return f"<code>{_cell(text)}</code>" if "|" in text else f"`{_cell(text)}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "&#124;")
