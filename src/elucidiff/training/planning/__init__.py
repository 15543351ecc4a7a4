"""A training planned from the data, the machine and the time there is: ``elucidiff train DATA``.

::

    made = planning.plan(planning.look_at("photos"), minutes=90)
    made.config              # settings for ed.training.train, as they are written to config.yaml
    made.choices             # each with its value and the reason for it
"""

from __future__ import annotations

from elucidiff.training.planning.choosing import Choice, Plan, plan
from elucidiff.training.planning.findings import Findings, look_at

__all__ = ["Choice", "Findings", "Plan", "look_at", "plan"]
