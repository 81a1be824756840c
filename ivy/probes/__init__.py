"""How each part is tried, one file each: `look`, called by `ivy.probing` and `ivy.health`, which tell what it found."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """What trying a part has shown. `kind`: what is wrong, in a word; `words`: the same for people, no full stop."""

    is_well: bool
    words: str
    kind: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
