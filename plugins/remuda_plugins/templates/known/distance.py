"""How far two texts are apart."""

from __future__ import annotations

__all__ = ["distance"]


def distance(one: str, other: str, limit: int) -> int:
    """Levenshtein's distance: how many characters must be put in, taken out or changed. `limit` if it is not less.

    Myers' bit-vector algorithm in the form of Hyyrö: a column of the table is two integers, whose bits say where the
    values rise and fall, so that a character of `other` costs a handful of operations and not `len(one)`.
    """
    if abs(len(one) - len(other)) >= limit:
        return limit
    if not one:
        return len(other)
    places: dict[str, int] = {}
    for index, character in enumerate(one):
        places[character] = places.get(character, 0) | 1 << index
    every, last = (1 << len(one)) - 1, 1 << (len(one) - 1)
    rises, falls, edits = every, 0, len(one)
    for left, character in zip(range(len(other) - 1, -1, -1), other, strict=True):
        same = places.get(character, 0)
        vertical = same | falls
        horizontal = (((same & rises) + rises) ^ rises) | same
        up = falls | ~(horizontal | rises)
        down = rises & horizontal
        edits += bool(up & last) - bool(down & last)
        if edits - left >= limit:
            return limit
        up = up << 1 | 1
        rises = (down << 1 | ~(vertical | up)) & every
        falls = up & vertical & every
    return min(edits, limit)
