"""What a caller may do: four roles, and which of them each endpoint needs. What is not named here needs the most."""

from typing import Literal, NamedTuple, TypeAlias, get_args

from service.access.refusals import RefusedError

Role: TypeAlias = Literal["predict", "ingest", "operate", "read"]
ROLES: tuple[Role, ...] = get_args(Role)

# What the console is made of.
CONSOLE = frozenset(
    f"/console/{name}"
    for name in (
        "api.js",
        "charts.js",
        "experiment.js",
        "explain.js",
        "form.js",
        "health.js",
        "main.js",
        "models.js",
        "show.js",
        "style.css",
        "uplot/uPlot.iife.min.js",
        "uplot/uPlot.min.css",
    )
)
# What tells a load balancer whether to send requests here.
PROBES = frozenset({"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"})
# These, and pages without data.
PUBLIC = CONSOLE | {"/", "/docs", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/openapi.json"} | PROBES
_INGEST = frozenset({"/v1/impressions", "/v1/clicks", "/v1/simulated"})


class Caller(NamedTuple):
    """Who sent a request: its name in logs (``key:ID``, ``jwt:SUBJECT`` or ``anybody``), and what it may do."""

    name: str
    roles: frozenset[str]

    def check_role(self, role: Role) -> None:
        """Refuse what this caller may not do.

        Raises:
            RefusedError: it lacks the role.
        """
        if role not in self.roles:
            raise RefusedError(403, f"this needs the role {role!r}", WWW_Authenticate=f'Bearer error="insufficient_scope", scope="{role}"')


def needed(method: str, path: str) -> Role | None:
    """Return the role that a request needs; None if anybody may send it.

    >>> needed("POST", "/v1/predict"), needed("POST", "/v2/models/sml/infer"), needed("GET", "/v2/models/sml")
    ('predict', 'predict', 'read')
    >>> needed("GET", "/metrics"), needed("DELETE", "/v1/users/u17"), needed("GET", "/healthz")
    ('read', 'operate', None)
    """
    if method == "OPTIONS":
        return None
    if path.startswith("/v1/users/"):
        return "operate"
    if method in {"GET", "HEAD"}:
        return None if path in PUBLIC else "read"
    if path in {"/v1/predict", "/v1/explain"} or (path.startswith("/v2/models/") and path.endswith("/infer")):
        return "predict"
    return "ingest" if path in _INGEST else "operate"
