"""HDF5 files of robomimic (LIBERO, MimicGen), ALOHA and ``robotrace export``, as episodes.

Example::

    from robotrace.adapters.hdf5 import scan_file, upload_dataset

    print(scan_file("low_dim.hdf5").report())
    upload_dataset("low_dim.hdf5", policy_version="human", name_template="lift {episode_index:03d}")
"""

from robotrace.adapters._episode import EncodedArtifact, EncodedEpisode
from robotrace.adapters._spooling import ImportedEpisode
from robotrace.adapters._uploading import DatasetUpload, EpisodeFailure
from robotrace.adapters.hdf5._encode import encode_episode
from robotrace.adapters.hdf5._scan import DemoSummary, FileSummary, scan_file
from robotrace.adapters.hdf5._upload import upload_dataset, upload_episode

__all__ = [
    "DatasetUpload",
    "DemoSummary",
    "EncodedArtifact",
    "EncodedEpisode",
    "EpisodeFailure",
    "FileSummary",
    "ImportedEpisode",
    "encode_episode",
    "scan_file",
    "upload_dataset",
    "upload_episode",
]
