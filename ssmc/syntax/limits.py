"""The limits of what is read, so that no text, however made, costs more than a moment or a deep recursion.

Specs are short: the longest known is a few thousand characters. Later levels recurse on the tree and rely on
`MAX_DEPTH`.
"""

MAX_CHARACTERS = 64 * 1024
"""The longest `.ssm` text, in code points (and the largest file, in bytes, times four)."""

MAX_DEPTH = 200
"""The deepest expression: a sum of n terms counts n, as does each bracket or sign around another."""

MAX_REPORTED = 50
"""So many syntax errors are reported at once; then the reading stops."""
