"""Tab completion of an option's value that begins with a minus, such as `--sort -val/accuracy`."""

from __future__ import annotations

from typing import Any, List, Optional

from typer.core import TyperCommand

_BEFORE = "normlab.before"


class Command(TyperCommand):
    """A command in which what follows an option is its value, also if it begins with a minus."""

    def parse_args(self, ctx: Any, args: List[str]) -> List[str]:
        """Parse *args*, and remember the last one, which what is completed follows."""
        ctx.meta[_BEFORE] = args[-1] if args else None
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> List[Any]:
        """Complete *incomplete*; typer takes whatever begins with a minus for an option."""
        option = self._waiting(ctx)
        if option is None or not incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        found: List[Any] = option.shell_complete(ctx, incomplete)
        return found

    def _waiting(self, ctx: Any) -> Optional[Any]:
        """Return the option whose value comes next; None: none waits for one."""
        before = ctx.meta.get(_BEFORE)
        for param in self.params:
            if before in param.opts and not getattr(param, "is_flag", False) and before[:1] == "-":
                return param
        return None
