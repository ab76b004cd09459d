import ssl

import pytest
import trustme
from served_console import Served


@pytest.fixture
def served(tmp_path):
    with Served(tmp_path) as found:
        yield found
    assert found.faults == []


@pytest.fixture(scope="session")
def authority():
    return trustme.CA()


@pytest.fixture
def trusting(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context
