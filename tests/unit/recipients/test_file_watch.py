"""The clockwork of files, where there are many of them."""

import asyncio
import threading

from clockwork import Clock, names

from tideover.config.model import Source
from tideover.recipients import file_watch
from tideover.recipients.copies import Copies
from tideover.recipients.file_watch import FileWatch
from tideover.recipients.interface import Says, Silence
from tideover.recipients.loaded import LoadedSource
from tideover.recipients.sources.interface import Load
from tideover.recipients.taking import Taking

MANY = 1500


class QuickLoader:
    def __init__(self, place, looked):
        self.place = place
        self.looked = looked

    def look(self, version):
        if version is not None:
            return None
        self.looked.append(self.place)
        return Load(lists={"": names("user")}, version="v1")

    def is_unsettled(self, version):
        return False

    async def load(self, version, progress):
        return self.look(version)

    async def close(self):
        pass


def many(directory, looked):
    copies = Copies(directory)
    watch = FileWatch(Taking(copies, lambda _: None, lambda _: None), Clock())
    sources = []
    for n in range(MANY):
        loader = QuickLoader(n, looked)
        sources.append(LoadedSource(f"file:{n}", None, loader, Source(), 1.0))
        watch.add(sources[-1])
    return watch, sources, copies


def test_a_file_that_a_client_waits_for_is_read_before_all_others():
    async def scenario():
        looked = []
        watch, sources, _ = many(None, looked)
        asked = sources[-1].says("example.com", "user", None, 0.0)
        waiting = asyncio.create_task(asked)
        await asyncio.sleep(0)
        task = asyncio.create_task(watch.run())
        said = await waiting
        task.cancel()
        assert isinstance(said, Says)
        assert said.match is not None
        assert looked[0] == MANY - 1

    asyncio.run(scenario())


def test_the_copies_of_many_files_are_all_there_after_a_restart(tmp_path):
    async def scenario():
        watch, sources, copies = many(tmp_path, [])
        task = asyncio.create_task(watch.run())
        while any(source.lists is None for source in sources):
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        copies.close()
        again = Copies(tmp_path)
        assert all(again.get(source.key) is not None for source in sources)
        again.close()

    asyncio.run(scenario())


def test_a_refresh_of_a_file_that_did_not_change_says_so():
    async def scenario():
        watch, sources, _ = many(None, [])
        first = await watch.refresh(sources[0], confirmed=False)
        again = await watch.refresh(sources[0], confirmed=False)
        assert (first.changed, again.changed) == (True, False)

    asyncio.run(scenario())


class HangingLoader(QuickLoader):
    """Of a file system that hangs at the second look."""

    def __init__(self):
        super().__init__("away", [])
        self.back = threading.Event()

    def look(self, version):
        if version is not None:
            self.back.wait(30.0)
        return super().look(version)


def test_while_a_file_system_hangs_no_file_can_say_who_does_not_exist(monkeypatch):
    async def scenario():
        monkeypatch.setattr(file_watch, "HANGING", 0.05)
        clock, loader = Clock(), HangingLoader()
        watch = FileWatch(Taking(Copies(None), lambda _: None, lambda _: None), clock)
        away = LoadedSource("file:away", None, loader, Source(), 1.0)
        here = LoadedSource("file:here", None, QuickLoader("here", []), Source(), 1.0)
        for each in (away, here):
            watch.add(each)

        async def until(silence):
            async with asyncio.timeout(5.0):
                while here.says("example.com", "new", None, clock()).silence is not silence:
                    await asyncio.sleep(0.01)

        task = asyncio.create_task(watch.run())
        assert await here.first_read(5.0)
        await until(Silence.NO_SUCH)
        clock.at += 10
        await until(Silence.UNSURE)
        assert here.says("example.com", "user", None, clock()).match is not None
        loader.back.set()
        clock.at += 10
        await until(Silence.NO_SUCH)
        task.cancel()

    asyncio.run(scenario())
