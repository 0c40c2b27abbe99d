"""For the API pages: a class of checked fields shows them as its arguments, each with its default and its bounds."""

from typing import Any

from griffe import Attribute, Class, ExprCall, Extension, Function, Module, Parameter, ParameterKind, Parameters

FIELDS = {
    f"{module}.{name}"
    for module in ("solvable.numerics.fields", "solvable.lab.declare")
    for name in ("real", "whole", "word", "flag", "converted", "array")
}


class CheckedFields(Extension):
    """Gives such a class the constructor that it gets when Python runs."""

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        """Called once a package has been read."""
        _visit(pkg)


def _visit(module: Module) -> None:
    for member in list(module.members.values()):
        if member.is_alias:
            continue
        if isinstance(member, Module):
            _visit(member)
        elif isinstance(member, Class) and "__init__" not in member.members:
            fields = [one for one in member.members.values() if isinstance(one, Attribute) and _is_field(one)]
            if fields:
                kind = ParameterKind.positional_or_keyword
                arguments = [
                    Parameter(one.name, annotation=one.annotation, kind=kind, default=one.value) for one in fields
                ]
                constructor = Function("__init__", parameters=Parameters(Parameter("self", kind=kind), *arguments))
                member.set_member("__init__", constructor)


def _is_field(attribute: Attribute) -> bool:
    value = attribute.value
    return isinstance(value, ExprCall) and value.canonical_path in FIELDS
