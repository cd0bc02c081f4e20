"""LeRobot datasets (v2.0, v2.1, v3.0, v3.1), of a folder or the hub, as episodes; without LeRobot and without torch.

Example::

    from robotrace.adapters.lerobot import scan_dataset, upload_dataset

    print(scan_dataset("lerobot/pusht").report())
    upload_dataset("lerobot/pusht", policy_version="human", episode_indices=range(10))
"""

from robotrace.adapters._episode import EncodedArtifact, EncodedEpisode
from robotrace.adapters._spooling import ImportedEpisode
from robotrace.adapters._uploading import DatasetUpload, EpisodeFailure
from robotrace.adapters.lerobot._encode import encode_episode
from robotrace.adapters.lerobot._scan import DatasetSummary, scan_dataset
from robotrace.adapters.lerobot._upload import upload_dataset, upload_episode

__all__ = [
    "DatasetSummary",
    "DatasetUpload",
    "EncodedArtifact",
    "EncodedEpisode",
    "EpisodeFailure",
    "ImportedEpisode",
    "encode_episode",
    "scan_dataset",
    "upload_dataset",
    "upload_episode",
]
