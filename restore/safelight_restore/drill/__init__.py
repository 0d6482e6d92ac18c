"""The drill: a timed, reported rehearsal of a restore.

    order → rehearsal → result → report, page, metrics

``rehearsal`` takes the steps one by one: ``objects`` (with ``coverage``), ``draw`` (with ``sample``
and ``index``), the engine of ``restore``, ``proof``, ``damage``; ``findings`` says what the figures
mean. Everything that is printed is made from the one ``result``.
"""
