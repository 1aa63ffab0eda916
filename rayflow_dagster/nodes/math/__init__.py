"""Arithmetic, with Python's semantics: integers stay integers except in a division.

The types of the ports are a compromise. The inputs are ``float``, which takes integers too and
refuses text before the flow runs. The result of adding, subtracting or multiplying is an ``int``
when both inputs are, but a port's type cannot depend on what is wired to the node:

- ``int`` would refuse decimal numbers;
- ``float`` (and likewise ``int | float``) would refuse a sum of integers wherever an ``int`` is
  asked for, such as the index of a list, although the value is right, and the person drawing
  could do nothing about it;
- ``any`` goes everywhere. A sum wired into a text input is then found when the node there runs,
  which checks what it is given, and not before.

A correct flow must never be refused, so it is ``any``. The result of a division is always a
``float`` and says so.
"""
