"""The systems of `examples/` as plain numpy loops over time, in float64, written from the published equations.

Nothing here uses the compiler. Every function takes arrays named as in the spec, inputs `(B, L, …)`, parameters
`(…)`, initial states `state_<name>` `(B, …)`, and returns each output as `(B, L, …)` and each final state as
`"state.<name>"` `(B, …)`.
"""
