"""The command line against a scripted deployment."""

import pytest
from command_line import robotrace
from wire_server import API_KEY


@pytest.fixture
def at(server):
    """``robotrace`` with the scripted server as its deployment."""

    def run(*arguments, **options):
        return robotrace(*arguments, **{"ROBOTRACE_BASE_URL": server.url, "ROBOTRACE_API_KEY": API_KEY, **options})

    return run
