from tideover.events.records import SpoolRecovered, SpoolTrouble
from tideover.inbound.admission import NO_SPACE, TROUBLE, Admission, reply_to
from tideover.spool.interface import SpoolFull, SpoolUnavailable


class Disk:
    def __init__(self):
        self.free = 1000
        self.events = []
        self.admission = Admission(self.measure, 100, self.events.append, lambda: 5.0)

    def measure(self):
        if self.free is None:
            raise OSError(5, "Input/output error")
        return self.free

    def named(self):
        return [type(e) for e in self.events]


def test_too_little_space_defers_and_is_told_once():
    disk = Disk()
    assert disk.admission.refusal(0) is None
    assert disk.admission.refusal(950) == NO_SPACE
    disk.free = 50
    disk.admission.measure()
    disk.admission.measure()
    assert disk.admission.refusal(0) == NO_SPACE
    disk.free = 1000
    disk.admission.measure()
    assert disk.admission.refusal(0) is None
    assert disk.named() == [SpoolTrouble, SpoolRecovered]


def test_a_disk_that_cannot_be_asked_counts_as_full():
    disk = Disk()
    disk.free = None
    disk.admission.measure()
    assert disk.admission.refusal(0) == NO_SPACE


def test_what_a_client_hears_of_a_failed_write():
    assert reply_to(SpoolFull("no space")) == NO_SPACE
    assert reply_to(SpoolUnavailable("I/O error")) == TROUBLE
