"""The explorer: a page on which every choice of sampling is moved, and seen at work.

Everything but :mod:`.page` and :mod:`.serving` does without Gradio: an :class:`.Explorer` draws what a
:class:`.Request` asks for and tells how it goes; :mod:`.controls` makes fields of the parts' own declarations;
:class:`.Line` lets browsers in fairly.
"""
