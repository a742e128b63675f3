"""Find what the rows of one page have in common: the columns in which neighbouring rows are equal because they were shown together."""

import re

import numpy as np

from service.onboarding.field_kinds import words
from service.onboarding.sample import Sample
from stream.settings import DataSettings

_REQUESTS = re.compile("request|req|page|pageview|view|session|slate|auction|query|search|visit|impression|group|qid|srch|bid")
_VISITORS = re.compile("user|uid|customer|visitor|member|cookie")
_IDS = re.compile("id|ids|uid|qid|[a-z]{2,}id|key|hash|uuid|user|visitor|customer|member|cookie")
_ENOUGH = 0.01  # of the rows: from this share on, rows that are equal to the row before are no accident


def page_columns(sample: Sample, data: DataSettings) -> tuple[str, ...]:
    """Return the columns that the rows of one page have equal, none if the sample shows no pages.

    They are a request's id, or else the time and the visitor's id: one of the two alone is no page.
    """
    equal = {column.name: column.codes[1:] == column.codes[:-1] for column in sample.columns if column.filled.all()}
    ids = [name for name in equal if _IDS.fullmatch(words(name)[-1])]
    for name in ids:
        if any(map(_REQUESTS.fullmatch, words(name))) and equal[name].mean() >= _ENOUGH:
            return (name,)
    visitors = [name for name in ids if any(map(_VISITORS.fullmatch, words(name)))]
    if not data.time or not visitors or sample.rows < 2:  # noqa: PLR2004 - neighbours
        return ()
    same = np.logical_and.reduce([np.diff(sample.times) == 0, *(equal[name] for name in visitors)])
    return (*data.time_columns, *visitors) if same.mean() >= _ENOUGH else ()
