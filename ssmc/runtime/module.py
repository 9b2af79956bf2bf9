"""A spec as a `torch.nn.Module`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from ssmc.api import Compiled


class SpecModule(nn.Module):
    """The spec's params as parameters (bool and int ones as buffers); `forward` takes its inputs and call keywords.

    A param keeps its name where the module has no attribute of that name, else it gets an underscore at its end.
    """

    def __init__(self, compiled: Compiled, params: Mapping[str, Tensor], call: Mapping[str, Any]) -> None:
        super().__init__()
        self.compiled = compiled
        self.call_options = dict(call)
        self._attribute = {}
        for name, value in params.items():
            attribute = name
            while hasattr(self, attribute):
                attribute += "_"
            self._attribute[name] = attribute
            if value.is_floating_point() or value.is_complex():
                setattr(self, attribute, nn.Parameter(value))
            else:
                self.register_buffer(attribute, value)

    def spec_params(self) -> dict[str, Tensor]:
        """The params by the names they have in the spec."""
        return {name: getattr(self, attribute) for name, attribute in self._attribute.items()}

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """`compiled(*inputs, **named)` with the module's params."""
        return self.compiled(*inputs, **{**self.spec_params(), **self.call_options, **named})

    def step(self, state: Mapping[str, Any] | None, /, *inputs: Any, **named: Any) -> tuple[Any, dict[str, Any]]:
        """`compiled.step` with the module's params."""
        return self.compiled.step(state, *inputs, **{**self.spec_params(), **self.call_options, **named})

    def init_state(self, batch: Any = ()) -> dict[str, Any]:
        """`compiled.init_state` with the module's params."""
        return self.compiled.init_state(batch, **self.spec_params())

    def extra_repr(self) -> str:
        return repr(self.compiled)
