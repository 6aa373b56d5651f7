"""A complete mail transfer agent. Its rooms, in the order in which a letter passes through them::

    listen -> smtp -> ruleset -> queue -> scheduler -> mta | mda -> bounce -> report

C{docs/flow.md} tells the journey in one page; C{docs/hacking.md} the laws of the house.
"""

__version__ = "0.1.0"
