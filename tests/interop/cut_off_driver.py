"""What `test_cut_off_agent` runs in the network of the backup: a primary that is up, a daemon whose
domain has an agent elsewhere, and clients. Prints as JSON what each client was told.

Arguments: a directory, the URL of the agent, its public key, addresses of clients. "STOP" among
them waits until a file of that name is there.
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from pass_rig import AT_ONCE, primary_is, transact, until
from tideover.testing.breaking_peer import BreakingPeer
from tideover.testing.daemon import Daemon
from tideover.testing.mailgen import mail
from tideover.testing.ports import free_port


def main(directory: Path, url: str, agent_key: str, clients: list[str]) -> None:
    port = free_port()
    daemon = Daemon(
        directory / "daemon",
        primary=port,
        domain=f'when_primary_up = "auto"\nagent = "{url}"\nagent_key = "{agent_key}"',
        more=f'{AT_ONCE}[cut_off]\nkey_file = "{directory / "backup.key"}"\nagent_timeout = "3s"\n',
    )
    told = {}
    with BreakingPeer(directory / "peer", port), daemon:
        primary_is(daemon, "up")
        for client in clients:
            if client == "STOP":
                (directory / "waiting").touch()
                until((directory / "STOP").exists)
                continue
            start = time.monotonic()
            verdict = transact(daemon.port, mail(1), source=client).verdict.decode()
            told[client] = {"verdict": verdict, "took": time.monotonic() - start, "why": ""}
            if " Queued as " in verdict:
                said = daemon.ask("explain", verdict.split()[-1])
                told[client]["why"] = " ".join(
                    one["reason"] for one in said if one["event"] == "client-cut-off"
                )
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:4], sys.argv[4:])
