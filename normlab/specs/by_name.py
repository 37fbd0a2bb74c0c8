"""Fields whose value names one of several registered specs: kinds, optimizers, ..."""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    ClassVar,
    Dict,
    Generic,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Type,
    TypeVar,
)

from pydantic import GetJsonSchemaHandler, SerializationInfo, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from normlab.specs.base import NAMED, Spec, is_stored
from normlab.specs.registries import Registry

SpecT = TypeVar("SpecT", bound=Spec)


class NamedSpec(Spec):
    """
    The base of optimizers, schedules and augmentations, which a job names with their options.

    A subclass for each sort has its common options; each member of the sort is a subclass of it.

    Attributes:
        factory: the module:object that makes it from its own options.
    """

    if TYPE_CHECKING:
        name: Any = ""  # each subclass has its own literal

    factory: ClassVar[str]

    @property
    def own(self) -> Dict[str, Any]:
        """Return the options that others of its sort do not have."""
        family: Tuple[Any, ...] = type(self).__mro__
        shared = family[family.index(NamedSpec) - 1].model_fields
        names = [n for n in type(self).model_fields if n != "name" and n not in shared]
        return {name: getattr(self, name) for name in names}


def registry_of(
    part: str, specs: Sequence[Type[SpecT]], tag: str = "name"
) -> Registry[Type[SpecT]]:
    """Return normlab's own *specs* of *part* by their names, which are the defaults of *tag*."""
    return Registry(part, {str(spec.model_fields[tag].default): spec for spec in specs})


class ByName(Generic[SpecT]):
    """
    Validates an object by the spec that it names, for `Annotated[Base, ByName(...)]`.

    A bare name is short for an object without options.

    Args:
        registry: the specs by name.
        base: the base class of all these specs.
        forgotten: the spec that reads a value of an unknown name, which was accepted earlier.
        tag: the field that holds the name.
        default: the value of *tag* in an object without it; None if the object must have it.
    """

    def __init__(
        self,
        registry: Registry[Type[SpecT]],
        base: Type[SpecT],
        forgotten: Type[SpecT],
        *,
        tag: str = "name",
        default: Optional[str] = None,
    ) -> None:
        self._registry = registry
        self._base = base
        self._forgotten = forgotten
        self._tag = tag
        self._default = default

    def members(self, value: Any = None) -> List[Type[SpecT]]:
        """List the specs that *value* may be; for an object without a name, the default one."""
        if self._default is not None and isinstance(value, Mapping) and self._tag not in value:
            return [self._registry[self._default]]
        return list(self._registry.values())

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        dumped: Callable[..., Any] = _dumped
        return core_schema.with_info_plain_validator_function(
            self._validated,
            serialization=core_schema.plain_serializer_function_ser_schema(dumped, info_arg=True),
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        # with a reference, so that a schema with several jobs describes each spec once
        specs = [
            handler({**spec.__pydantic_core_schema__, "ref": f"{spec.__qualname__}:{name}"})
            for name, spec in self._registry.items()
        ]
        return {"anyOf": [{"enum": list(self._registry), "type": "string"}, {"oneOf": specs}]}

    def _validated(self, value: Any, info: ValidationInfo) -> SpecT:
        if isinstance(value, self._base):
            return value
        if isinstance(value, str):  # "online" is short for {"kind": "online"}
            value = {self._tag: value}
        if not isinstance(value, Mapping):
            raise NAMED
        if self._tag not in value:
            value = self._with_default(value)
        return self._named(value[self._tag], info).model_validate(dict(value), context=info.context)

    def _with_default(self, value: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._default is None:
            tag = {"discriminator": repr(self._tag)}
            raise PydanticCustomError("union_tag_not_found", "no name", tag)
        return {self._tag: self._default, **value}

    def _named(self, name: Any, info: ValidationInfo) -> Type[SpecT]:
        spec = self._registry.get(name) if isinstance(name, str) else None
        if spec is None and is_stored(info) and isinstance(name, str):
            return self._forgotten
        if spec is None:
            known = ", ".join(repr(one) for one in self._registry)
            raise PydanticCustomError(
                "union_tag_invalid",
                "'{tag}' is unknown; use one of {expected_tags}",
                {"tag": str(name), "expected_tags": known},
            )
        return spec


def _dumped(spec: Spec, info: SerializationInfo) -> Any:
    return spec.model_dump(
        mode=info.mode,
        exclude_unset=info.exclude_unset,
        exclude_defaults=info.exclude_defaults,
        exclude_none=info.exclude_none,
    )
