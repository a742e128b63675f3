"""What several queries have in common."""

RATE = "[$__rate_interval]"


def rate(counter: str, by: str = "") -> str:
    """Return the query for a counter's rate, a second, summed by some labels."""
    return f"sum{f' by ({by})' if by else ''} (rate({counter}{RATE}))"


def quantile(share: float, histogram: str, by: str = "", where: str = "") -> str:
    """Return the query for a quantile of a histogram, by some labels, of the series that a matcher takes."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}_bucket{where}{RATE})))"


def both(histogram: str, where: str = "") -> dict[str, str]:
    """Return the queries for the median of a histogram and for what 99 % stay under."""
    return {"99 % below": quantile(0.99, histogram, where=where), "median": quantile(0.5, histogram, where=where)}


def mean(histogram: str) -> str:
    """Return the query for the mean of a histogram; nothing while nothing happens."""
    return f"{rate(f'{histogram}_sum')} / ({rate(f'{histogram}_count')} > 0)"
