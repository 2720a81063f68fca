"""One command for a machine that is there for minutes: train, measure, bring home.

``python -m claims reproduce`` measures which way of training is the fastest, trains as
many networks of a setting as its budget has room for, measures each pair while the next
ones are trained, and writes what comes of it.  Networks, checkpoints and measurements
lie in the cache: interrupted, the same command goes on.

It runs what the suite runs: ``python -m fixtures build`` and ``pytest claims/``.
"""
