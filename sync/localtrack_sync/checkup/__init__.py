"""`localtrack doctor`: what was seen of this machine, a store and its remotes, and what that means.

The `look_...` modules look and return facts; the `..._checks` modules make findings of them and do nothing else.
"""
