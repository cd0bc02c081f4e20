"""Episodes as files of other tools: MCAP, HDF5, CSV.

Values keep their dtype, streams their own times, videos their pictures: nothing is resampled or encoded anew. What a
format cannot hold is left out and named. Everything is copied in pieces, so that memory does not grow with the episode.
"""

from robotrace.export._episode import Exported, ExportedEpisode, ExportError, Window
from robotrace.export._formats import FORMATS, Format, export_episode

__all__ = ["FORMATS", "ExportError", "Exported", "ExportedEpisode", "Format", "Window", "export_episode"]
