"""Multistep solvers: one network evaluation a step, those of the steps before used again."""

from __future__ import annotations
