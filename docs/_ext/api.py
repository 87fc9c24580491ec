"""What the API pages need beyond autodoc.

The directive `{functions} STEM` makes the table "C function -> Python" of one stem from
functions.toml. And names lead to where they are documented: `uvbind._tcp.TCP` to `uvbind.TCP`,
a method to the nearest class among the bases that is public.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

import uvbind

# Their constructors are for uvbind alone.
ABSTRACT = {"uvbind.Handle", "uvbind.Request", "uvbind.Stream", "uvbind.Metrics"}
ABSTRACT |= {"uvbind.aio.EventLoopMetrics"}
# What Python makes of our type aliases, and their names.
ALIASES = {
    "tuple[str, int] | tuple[str, int, int, int]": "~uvbind.Address",
    "tuple[int, int, int, str, ~uvbind.Address]": "~uvbind.AddressInfo",
}


class Functions(SphinxDirective):
    """The table of one stem."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        path = Path(self.env.srcdir) / "functions.toml"
        self.env.note_dependency(str(path))
        stem = self.arguments[0]
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        if stem not in tables:
            raise self.error(f"functions.toml has no table {stem}")
        rows = [self.row(*item) for item in tables[stem].items()]
        head = self.columns(nodes.Text("C"), nodes.Text("Python"))
        columns = [nodes.colspec(colwidth=width) for width in (45, 55)]
        group = nodes.tgroup("", *columns, nodes.thead("", head), nodes.tbody("", *rows), cols=2)
        return [nodes.table("", group, align="left")]

    def row(self, function: str, python: Any) -> nodes.row:
        return self.columns(nodes.literal("", function), *self.names(python))

    def names(self, python: Any) -> Iterator[nodes.Node]:
        if self.arguments[0] == "outside":
            yield nodes.Text(python)
            return
        if isinstance(python, dict):
            yield nodes.emphasis("", "none")
            yield nodes.Text(": " + python["absent"])
            return
        for number, name in enumerate([python] if isinstance(python, str) else python):
            if number:
                yield nodes.Text(", ")
            link = addnodes.pending_xref(
                "",
                nodes.literal("", name, classes=["xref", "py"]),
                refdomain="py",
                reftype="obj",
                reftarget="uvbind." + name.partition("(")[0],
                refexplicit=True,
                refwarn=True,
            )
            self.set_source_info(link)
            yield link

    @staticmethod
    def columns(first: nodes.Node, *second: nodes.Node) -> nodes.row:
        entries = [nodes.entry("", nodes.paragraph("", "", *cell)) for cell in ([first], second)]
        return nodes.row("", *entries)


def public_bases(
    app: Sphinx, name: str, thing: type, options: object, bases: list[type | str]
) -> None:
    """Show the bases that a user knows."""
    if name.startswith("uvbind."):
        public = [base for base in thing.__mro__[1:] if base.__name__ in uvbind.__all__]
        bases[:] = public[:1] or bases


def short_signature(
    app: Sphinx, what: str, name: str, thing: object, options: object, *texts: str | None
) -> tuple[str, str] | None:
    """Show no constructors that are not for users, and aliases by their names."""
    if texts[0] is None:
        return None
    signature, result = ("" if text is None or name in ABSTRACT else text for text in texts)
    for long, short in ALIASES.items():
        signature, result = signature.replace(long, short), result.replace(long, short)
    return signature, result


def forget_overloads() -> None:
    """Have one signature for each function: the docstring says what depends on what."""
    for name in uvbind.__all__:
        module = getattr(getattr(uvbind, name), "__module__", "")
        if module.startswith("uvbind."):
            analyzer = ModuleAnalyzer.for_module(module)
            analyzer.analyze()
            analyzer.overloads.clear()


def documented_elsewhere(
    app: Sphinx, env: Any, node: addnodes.pending_xref, content: nodes.TextElement
) -> nodes.Element | None:
    """Find what a name in `uvbind` is documented as."""
    parts = [part for part in node.get("reftarget", "").split(".") if not part.startswith("_")]
    if node.get("refdomain") != "py" or parts[:1] != ["uvbind"] or not 2 <= len(parts) <= 3:
        return None
    domain = env.get_domain("py")
    owner = getattr(uvbind, parts[1], None)
    owners = owner.__mro__ if isinstance(owner, type) and len(parts) == 3 else ()
    candidates = [f"uvbind.{base.__name__}.{parts[-1]}" for base in owners]
    for candidate in candidates or [".".join(parts)]:
        if candidate in domain.objects:
            return domain.resolve_xref(  # type: ignore[no-any-return]
                env, node["refdoc"], app.builder, "obj", candidate, node, content
            )
    return None


def setup(app: Sphinx) -> dict[str, bool]:
    forget_overloads()
    app.add_directive("functions", Functions)
    app.connect("autodoc-process-bases", public_bases)
    app.connect("autodoc-process-signature", short_signature)
    app.connect("missing-reference", documented_elsewhere)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
