"""A broker and workers on this machine, as real processes: for tests of services, and `--local`.

`serving` starts a broker and workers of your classes; they can be killed, hung and cut off, and can
come back. `mdp.testing.pytest_fixtures` has the same as a fixture of pytest.
"""

from .local_site import LocalFailed, LocalSite
from .processes import BrokerProcess, WorkerProcess
from .serving_site import Serve, ServingSite, serving

__all__ = [
    "BrokerProcess",
    "LocalFailed",
    "LocalSite",
    "Serve",
    "ServingSite",
    "WorkerProcess",
    "serving",
]
