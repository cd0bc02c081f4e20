"""From a sealed episode to the deployment.

Here live the folder format that recording and delivery share (``spool``, ``blocks``, ``npz``, ``sealing``), and what
moves the folders (``delivery``, ``uploader``, ``retry``, ``breaker``, ``pace``, ``salvage``). ``room`` and ``quota``
say whether another episode may be begun; ``guards`` has the hooks at fork and exit, ``failpoints`` the places where
tests kill. No NumPy and no video: a server without them can salvage and deliver what a training left behind.
"""
