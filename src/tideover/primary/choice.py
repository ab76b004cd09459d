"""In which order the hosts of a route are tried, chosen anew each time. Values only."""

from collections.abc import Sequence
from itertools import groupby
from random import Random

from tideover.primary.interface import NextHop


def shuffled(hops: Sequence[NextHop], random: Random) -> tuple[NextHop, ...]:
    """The hops of a route with hosts of equal preference in random order, so that they share the
    load (RFC 5321 §5.1). The addresses of a host stay together and in their order.
    """
    order: list[NextHop] = []
    for _, equals in groupby(hops, key=lambda hop: hop.preference):
        hosts = [tuple(same) for _, same in groupby(equals, key=lambda hop: (hop.name, hop.port))]
        random.shuffle(hosts)
        order += (hop for host in hosts for hop in host)
    return tuple(order)
