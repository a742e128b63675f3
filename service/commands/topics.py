"""``sml topics``: create the model's topics that are missing, and change how long those that exist keep their records."""

from service.doctor.topics import described
from service.log_and_topics import create_missing
from service.settings import Settings
from stream.log import topics
from stream.log.connect import open_log


def create(settings: Settings) -> dict[str, bool]:
    """Create the topics that are missing, and return of each topic whether it was created.

    Raises:
        LogError: the log can't be reached.
    """
    with open_log(settings.log) as log:
        created = create_missing(log, settings)
    wanted = topics.wanted(settings.topics, settings.log.partitions, settings.kept, rekey=settings.join.rekey, arms=tuple(settings.arms))
    return {each.name: each.name in created for each in wanted}


def update(settings: Settings) -> dict[str, str]:
    """Let the topics keep their records as long as the settings say, and return of each topic what has changed.

    Raises:
        UnknownTopicError: one is missing.
        LogError: the log can't be reached, or refuses.
    """
    names, rekey, arms, kept = settings.topics, settings.join.rekey, tuple(settings.arms), settings.kept
    with open_log(settings.log) as log:
        changed = topics.retain(log, names, rekey=rekey, arms=arms, kept=kept)
    said = {name: f"kept {described(new)}, before {described(old)}" for name, (old, new) in changed.items()}
    every = topics.wanted(names, settings.log.partitions, kept, rekey=rekey, arms=arms)
    return {each.name: said.get(each.name, f"kept {described(each.retention)}, as before") for each in every}
