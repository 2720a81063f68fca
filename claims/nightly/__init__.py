"""``python -m claims nightly``: does everything still hold, and did anything move?

One night (`night`) measures known networks again, chooses what to measure on fresh
ones (`allocation`), trains and measures it (`laboratory`; `drawn` gives values without
networks, for the years of `simulation`), and appends it to the `history`, from which
`standing` follows evidence and drift.  What a person sees is made by `report`, `page`,
`feed` and `badges`.
"""
