"""The state of a cell, in SQL: that of its job, or what its study is going to do with it."""

from __future__ import annotations

PLANNED = """(s.planned > 0 and not c.pruned and (c.job is null
    or (j.state in ('failed', 'cancelled') and j.finished_at <= s.asked_at and not c.reused)))"""
"""Whether the cell `c` of the study `s` waits to be queued, and `j` is its job, if it has one."""

UNFINISHED = """(not c.pruned and (c.job is null
    or (j.state in ('failed', 'cancelled') and not c.reused)))"""
"""Whether completing the study would queue the cell."""

STATE = f"""case when c.pruned and j.state = 'cancelled' then 'pruned'
    when {PLANNED} then 'planned' else coalesce(j.state, 'missing') end"""

CELLS = "study_cell c join study s on s.id = c.study left join job j on j.id = c.job"
"""The tables that these conditions read."""
