"""``sml topics create``: create the model's topics that are missing."""

from service.settings import Settings
from stream.log import topics
from stream.log.connect import open_log


def create(settings: Settings) -> dict[str, bool]:
    """Create the topics that are missing, and return of each topic whether it was created.

    Raises:
        LogError: the log can't be reached.
    """
    names = topics.Topics(settings.log.prefix)
    with open_log(settings.log) as log:
        created = topics.create(log, names, settings.log.partitions, rekey=settings.join.rekey)
    every = [names.impressions, names.clicks, names.examples, names.versions, names.weights, names.dead_letters]
    if settings.join.rekey:
        every += [f"{names.impressions}-by-id", f"{names.clicks}-by-id"]
    return {name: name in created for name in every}
