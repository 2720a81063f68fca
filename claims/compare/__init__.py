"""Your own method beside the known ones: ``python -m claims compare``.

A matcher or a renormalizer of your own runs on the same pairs of networks as those of
`lmc`, and is checked while it does.  `methods` says what such a function is, `seeds`
which networks it is tried on, `measuring` what is measured, `differences` what is
concluded; `tables` and `page` show it.
"""
