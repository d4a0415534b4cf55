"""Dataflow: from cells to what each step takes, gives and repeats. Nothing is run.

Read in this order: `values` (abstract values on a heap), `machine` (scopes, places, the record of effects), `tables`
(what library calls do), `summaries` (functions of the notebook), `special` (methods that operators run), `effects`,
`assignment`, `attributes`, `calls`, `expressions`, `statements` (the interpreter), `forward` (over all statements),
`kinds` and `resolve` (parameter, copy or data; liveness; identity), `restores` (state that is put back), `hidden`
(state and files), `flow` (`analyse`, the way in).
"""
