"""What ends a learner: it can't go on by itself.

LearnError
├── RecoveryError        a published version can't be made again
├── OtherSettingsError   the model was learned with other settings
├── GapError             examples or versions were deleted before they were learned
└── RanksDifferError     ranks that learn together have different weights
"""


class LearnError(Exception):
    """The learner can't go on by itself."""


class RecoveryError(LearnError):
    """A published version can't be made again."""


class OtherSettingsError(LearnError):
    """The model was learned with other settings."""


class GapError(LearnError):
    """Examples or versions were deleted before they were learned."""


class RanksDifferError(LearnError):
    """The ranks have learned different weights; none of them was published."""
