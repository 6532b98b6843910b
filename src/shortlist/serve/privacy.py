"""One person's data: shown as a whole, erased everywhere; and what is too old for its kind."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from shortlist.batch.personal import Person, Place, facts, places
from shortlist.batch.retention import retain
from shortlist.errors import ConfigError, NotFound
from shortlist.runtime import Runtime
from shortlist.serve.idempotency import Once
from shortlist.serve.keys import Keys
from shortlist.serve.remembered import Memory
from shortlist.stores.embedded import Embedded
from shortlist.stores.embedded_catalog import EmbeddedCatalog
from shortlist.stores.embedded_erasures import Erasure, Erasures

EVERY = 3600_000_000  # microseconds between two looks for what is too old


class InKeys:
    """API keys that belong to one person."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys

    def show(self, person: Person) -> list[Any]:
        return [
            {"id": key.id, "name": key.name, "scopes": list(key.scopes), "created": key.created.isoformat()}
            for key in self.keys.all()
            if key.user == person.id
        ]

    def erase(self, people: Sequence[Person]) -> list[int]:
        return [self.keys.forget(person.id) for person in people]


class InAnswers:
    """Answers that are kept for requests that come again. They are named, not shown: others may stand in them."""

    def __init__(self, once: Once) -> None:
        self.once = once

    def show(self, person: Person) -> list[Any]:
        return self.once.naming(person.id)

    def erase(self, people: Sequence[Person]) -> list[int]:
        return [self.once.forget(person.id) for person in people]


class Privacy:
    """What may be asked about one person's data. `memory` are the last answers, `once` those kept by key."""

    def __init__(self, runtime: Runtime, memory: Memory, once: Once) -> None:
        self.runtime, self.memory = runtime, memory
        self.catalog = runtime.catalog
        self.places: dict[str, Place] = {
            **places(
                runtime.catalog,
                runtime.stores.log,
                runtime.state,
                runtime.held,
                runtime.kinds,
                runtime.settings.rejects_path,
                runtime.settle,
            ),
            "answers": InAnswers(once),
            "keys": InKeys(Keys(runtime.settings.keys_path)),
        }
        self._working = threading.Lock()
        self._retained = 0  # when it was last looked for what is too old

    @property
    def erasures(self) -> Erasures:
        if not isinstance(self.catalog, EmbeddedCatalog):
            raise ConfigError("this catalogue does not know how to erase", where="stores.catalog")
        return self.catalog.erasures

    def export(self, id: str) -> dict[str, Any]:
        """Everything about one person, place by place: exactly what an erasure takes away. Raises NotFound when there
        is nothing."""
        person = self._person(id)
        shown = {name: place.show(person) for name, place in self.places.items()}
        if person.row < 0 and not any(shown.values()):
            raise NotFound(f"there is nothing about a user {id!r}", hint="compare the spelling: ids are kept exactly")
        return {"user_id": id, "facts": facts(self.catalog, person), **shown}

    def facts(self, id: str) -> dict[str, Any]:
        """What the catalogue says about one person."""
        return facts(self.catalog, self._person(id))

    def inventory(self, id: str) -> dict[str, int]:
        """How much of each there is. Raises NotFound when there is nothing."""
        return {name: len(found) for name, found in self.export(id).items() if name != "user_id"}

    def erase(self, id: str) -> Erasure:
        """Nobody knows this person from now on; `work` takes away what is left. Once more, it is the same erasure.
        Raises NotFound when there is nothing about them."""
        begun = self.erasures.find(id)
        if begun is None:
            if self._person(id).row < 0:
                self.inventory(id)
            self.catalog.erase(id, self.runtime.clock())
            begun = self.erasures.find(id)
            assert begun is not None
            self._forget(begun)
        return begun

    def lift(self, id: str) -> None:
        """Let an erased id be made again, as somebody new; what is left of the erasure is done first. Raises NotFound
        for who was not erased."""
        if self.erasures.find(id) is None:
            raise NotFound(f"user {id!r} was not erased", hint="compare the spelling: ids are kept exactly")
        self.work()
        self.catalog.lift(id)

    def work(self) -> None:
        """Finish what was begun, then take away what is too old. Safe to be cut off anywhere and called again."""
        if self.runtime.read_only:
            return
        with self._working:
            if isinstance(self.catalog, EmbeddedCatalog) and (pending := self.erasures.pending()):
                self._finish(pending)
            now = self.runtime.clock()
            if now - self._retained >= EVERY:
                retain(self.runtime.stores, self.runtime.settings, now, self.runtime.settle)
                self._retained = now

    def _finish(self, pending: Sequence[Erasure]) -> None:
        known = [(each, Person(each.id, each.row)) for each in pending if each.id is not None]
        people = [person for _, person in known]
        removed = {name: place.erase(people) for name, place in self.places.items()} if people else {}
        for at, (erasure, _) in enumerate(known):
            counts = {name: each[at] for name, each in removed.items()}
            self.erasures.searched(erasure.operation, {**erasure.proof, **counts})
            self._forget(erasure)
        purge(self.runtime)
        for erasure in pending:
            self.erasures.finish(erasure.operation, self.runtime.clock())

    def _forget(self, erasure: Erasure) -> None:
        """What is in memory by row."""
        self.runtime.ladder.last.forget(erasure.row)
        self.memory.forget(erasure.row)

    def _person(self, id: str) -> Person:
        return Person(id, int(self.catalog.rows("user", [id])[0]))


def purge(runtime: Runtime) -> None:
    """Nothing that was deleted can be read in a file of the stores any more."""
    for each in runtime.stores.backends.values():
        if isinstance(each, Embedded):
            each.purge()
