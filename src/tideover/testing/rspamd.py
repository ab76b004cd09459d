"""An rspamd of its own: a scanning worker and a controller on free loopback ports.

Its rules are those of Debian's package; whatever asks the network is off unless `enable` names it.
Configuration and state lie below one directory; the system's instance is not touched.
"""

import http.client
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tideover.config.values import Endpoint
from tideover.testing.child import Child, program
from tideover.testing.ports import free_port

_CONFIG = Path("/etc/rspamd/rspamd.conf")
_OFF = (
    "asn", "bimi", "clickhouse", "dcc", "elastic", "emails", "fuzzy_check", "greylist",
    "hfilter", "history_redis", "mx_check", "neural", "p0f", "phishing", "ratelimit", "rbl",
    "replies", "reputation", "rspamd_update", "spf", "dmarc", "surbl", "url_redirector",
)  # fmt: skip

# With the real list of suffixes it takes nine seconds to start.
_SUFFIXES = "com\nnet\norg\nexample\n"

_OPTIONS = """\
disable_hyperscan = true;
url_tld = "{root}/suffixes";
dns {{ nameserver = ["{dns}"]; timeout = 0.2s; retransmits = 1; }}
control_socket = "{root}/run/control mode=0600";
local_addrs = [];
"""

_MILTER = """\
bind_socket = "{}";
milter = yes;
count = 1;
upstream "local" {{ default = yes; self_scan = yes; }}
"""

# the forms in which a module may ask for header edits, and an action for the asking
_LUA = """\
rspamd_config:register_symbol{
  name = 'TEST_WISH',
  type = 'callback',
  callback = function(task)
    local action = task:get_header('X-Test-Action')
    if action then
      task:set_pre_result(action, 'because the test wants it', 'test')
    end
    if task:get_header('X-Test-Edits') then
      task:set_milter_reply({
        add_headers = {
          ['X-Plain'] = 'one',
          ['X-Ordered'] = {value = 'two', order = 1},
          ['X-Several'] = {{value = 'three', order = 0}, {value = 'four', order = -1}},
        },
        remove_headers = {['X-Test-Edits'] = 0},
      })
    end
  end,
}
rspamd_config.TEST_FIVE = {
  callback = function(task) return task:get_header('X-Test-Five') ~= nil end,
  score = 5.0,
}
rspamd_config.TEST_ENVELOPE = {
  callback = function(task)
    local from, to = task:get_from('smtp'), task:get_recipients('smtp')
    local known = {
      tostring(task:get_from_ip()), task:get_helo() or '', task:get_hostname() or '',
      from and from[1].addr or '', task:get_queue_id() or '',
      task:get_request_header('TLS-Version') and 'tls' or 'clear',
    }
    for _, one in ipairs(to or {}) do known[#known + 1] = one.addr end
    if task:get_header('X-Test-Envelope') then
      task:set_pre_result('soft reject', table.concat(known, ' '), 'test')
    end
  end,
}
"""


def why_missing() -> str | None:
    """Why no rspamd can be run here, or None."""
    missing = program("rspamd") is None or not _CONFIG.exists()
    return "not installed: rspamd (Debian: rspamd)" if missing else None


class Rspamd:
    """One instance. As a context manager: started, and stopped at the end.

    `enable` names modules that are off otherwise. `local` are files of local.d by name
    ("greylist.conf"), `main` is text for the main level of its configuration. `dns` is its name
    server, by default one that does not answer. With `milter` it also is one, at that endpoint.
    """

    def __init__(
        self,
        directory: Path,
        *,
        name: str = "rspamd",
        enable: Collection[str] = (),
        local: Mapping[str, str] | None = None,
        main: str = "",
        dns: Endpoint | None = None,
        milter: bool = False,
    ) -> None:
        self.endpoint = Endpoint("127.0.0.1", free_port())
        self.milter = Endpoint("127.0.0.1", free_port())
        self.controller = Endpoint("127.0.0.1", free_port())
        self.url = f"http://{self.endpoint}"
        root = directory / name
        for part in ("local/local.d", "local/override.d", "db", "run", "log"):
            (root / part).mkdir(parents=True)
        (root / "suffixes").write_text(_SUFFIXES)
        dns = dns or Endpoint("127.0.0.1", free_port())
        files = {f"{module}.conf": "enabled = false;\n" for module in _OFF if module not in enable}
        files["options.inc"] = _OPTIONS.format(root=root, dns=dns)
        files["logging.inc"] = 'type = "console";\nlevel = "info";\n'
        for file, text in (files | dict(local or {})).items():
            (root / "local" / "local.d" / file).write_text(text)
        overrides = {
            "worker-normal.inc": f'bind_socket = "{self.endpoint}";\ncount = 1;\n',
            "worker-controller.inc": f'bind_socket = "{self.controller}";\ncount = 1;\n',
            "worker-proxy.inc": _MILTER.format(self.milter) if milter else "enabled = false;\n",
        }
        for file, text in overrides.items():
            (root / "local" / "override.d" / file).write_text(text)
        (root / "local" / "rspamd.conf.local").write_text(main)
        (root / "local" / "rspamd.local.lua").write_text(_LUA)
        places = {"LOCAL_CONFDIR": "local", "DBDIR": "db", "RUNDIR": "run", "LOGDIR": "log"}
        command = [str(program("rspamd")), "-f", "-c", str(_CONFIG)]
        command += [f"--var={key}={root / place}" for key, place in places.items()]
        if os.geteuid() == 0:
            command.append("-i")
        self.child = Child(command, root / "output", self._answers)

    def __enter__(self) -> Self:
        self.child.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.child.stop()

    def control(self, verb: str, message: bytes = b"", **headers: str) -> tuple[int, bytes]:
        """Ask the controller ("learnspam", "fuzzyadd"). Returns status and answer."""
        return _post(self.controller, verb, message, headers)

    def check(self, message: bytes, **headers: str) -> bytes:
        """The answer to a message as JSON, without Tideover in between."""
        return _post(self.endpoint, "checkv2", message, headers)[1]

    def _answers(self) -> bool:
        try:
            return all(_post(each, "ping", b"", {})[0] == 200
                       for each in (self.endpoint, self.controller))  # fmt: skip
        except (OSError, http.client.HTTPException):
            return False


def _post(to: Endpoint, verb: str, message: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(*to, timeout=20)
    try:
        connection.request("POST" if message else "GET", f"/{verb}", message or None, dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
