"""The drill: a timed, reported rehearsal of a restore.

    order → rehearsal → result → report, page, summary, metrics

``rehearsal`` takes the steps one by one: ``objects`` (with ``coverage``), ``draw`` (with ``sample``
and ``index``), the engine of ``restore``, ``proof``, ``damage``; ``findings`` says what the figures
mean. Everything that is told is made from the one ``result``: ``report`` for machines, ``page``
(with ``markup``, ``page_text`` and ``plots``) for auditors, ``summary`` for the operator,
``metrics`` for Prometheus. ``scratch`` sees to it that no patient's file stays behind.
"""
