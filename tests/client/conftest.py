"""The site of the service's tests."""

from tests.service.conftest import site, thaw

__all__ = ["site", "thaw"]
