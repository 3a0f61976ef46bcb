"""Labels of what members of a sweep have: the plain name where it is alone, else with the values that tell it apart.

`Rejuvenation+RL@alpha=0.4,rho=0.01` is of the members that have these two values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)

#: Characters of a label that say for which values it is; a folder's name has at most 255 bytes.
LONGEST = 100

#: key -> text, as on the command line.
Values = Mapping[str, str]


class Names:
    """What tells members of a sweep apart: the values, of the keys that have several, by the last word of the key."""

    def __init__(self, members: Sequence[Values]) -> None:
        self._members = members
        every = dict.fromkeys(key for values in members for key in values)
        last = [_last(key) for key in every]
        self._short = {key: _last(key) if last.count(_last(key)) == 1 else key.lstrip("+~") for key in every}
        self._several = [key for key in every if len({values.get(key) for values in members}) > 1]

    @property
    def keys(self) -> str:
        """All keys that the sweep names, also those that have one value so far."""
        return ",".join(self._short.values())

    def shared(self, holders: Sequence[int]) -> dict[str, str]:
        """The values that these members have in common, and others have not."""
        if len(holders) == len(self._members):
            return {}
        first, *rest = (self._members[number] for number in holders)
        keys = [key for key in self._several if key in first]
        return {key: first[key] for key in keys if all(values.get(key) == first[key] for values in rest)}

    def text(self, values: Values) -> str:
        """`alpha=0.4,rho=0.01`; the end of a long one is a hash, because names of folders are made of it."""
        whole = ",".join(f"{self._short[key]}={text}" for key, text in values.items())
        return whole if len(whole) <= LONGEST else f"{whole[:LONGEST]}~{hashlib.sha256(whole.encode()).hexdigest()[:6]}"

    def labels(self, held: Mapping[Key, tuple[str, list[int]]]) -> dict[Key, str]:
        """The label of each, of (plain name, the members that have it)."""
        suffixes = self.tell_apart(held)
        return {key: held[key][0] + suffix for key, suffix in suffixes.items()}

    def tell_apart(self, held: Mapping[Key, tuple[Hashable, list[int]]]) -> dict[Key, str]:
        """What to put behind each plain label, of (plain label, the members that have it): nothing if it is alone."""
        alike: dict[Hashable, list[Key]] = {}
        for key, (plain, _) in held.items():
            alike.setdefault(plain, []).append(key)
        suffixes: dict[Key, str] = {}
        for keys in alike.values():
            texts = [self.text(self.shared(held[key][1])) if len(keys) > 1 else "" for key in keys]
            for key, text in zip(keys, texts, strict=True):
                holders = held[key][1]
                if len(holders) < len(self._members) and len(keys) > 1 and (not text or texts.count(text) > 1):
                    text = self.text({name: self._members[holders[0]][name] for name in self._several})
                suffixes[key] = f"@{text}" if text else ""
        return suffixes


def _last(key: str) -> str:
    return key.lstrip("+~").rpartition(".")[2]
