"""Trained networks of a scale, alone, in pairs and in tuples."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from claims.measure.architecture import BATCH, Architecture, Images
from claims.measure.networks import Network
from claims.measure.pairs import Pair
from claims.measure.several import Several
from fixtures import store
from fixtures.recipe import Recipe
from fixtures.scales import Scale
from fixtures.states import canonical
from lmc.graph import State

HELD = 2**26
"""Bytes of networks that stay in memory after others were looked at: a worker sees a
thousand in a run, and finds them again on the disk in milliseconds."""


class Setting(Architecture):
    """The networks of one setting; missing ones are trained when they are looked at.

    From ``first_seed`` on, and ``seeds`` of them unless told otherwise.  ``failed`` are
    those that were passed over, as far as is known; ``held`` counts their bytes in
    memory; those that were ``given``, see `take`, are nowhere else.
    """

    def __init__(
        self, name: str, recipe: Recipe, images: Images, first_seed: int, seeds: int
    ):
        super().__init__(name, recipe, images)
        self.first_seed, self.seeds = first_seed, seeds
        self.failed: list[int] = []
        self.held, self.given = 0, False
        self._good: list[int] = []
        self._known: dict[int, Network] = {}
        self._digests: dict[int, str] = {}

    def network(self, seed: int) -> Network:
        """Return the network of one seed, such as another one's origin."""
        if seed not in self._known:
            [state] = store.networks(self.recipe, [seed], device=self.device)
            self._keep(seed, state)
        return self._known[seed]

    def there(self, count: int) -> int:
        """Return how many of the first good networks need not be trained.

        Raises
        ------
        fixtures.store.ManyFailedError
            As by `fixtures.store.candidates`.
        """
        if count <= len(self._good):
            return count
        seeds, _ = store.candidates(self.recipe, self.first_seed, count)
        return sum(store.find(self.recipe, seed) is not None for seed in seeds)

    def networks(self, count: int | None = None) -> list[Network]:
        """Return the networks of the first good seeds, by default of all."""
        count = self.seeds if count is None else count
        self._load(count)
        return [self._known[seed] for seed in self._good[:count]]

    def pairs(self, count: int | None = None) -> list[Pair]:
        """Return pairs of consecutive good seeds, by default as many as there are."""
        most = self.seeds // 2 if count is None else count
        found = self.networks(2 * most)
        return [Pair(a, b) for a, b in zip(found[::2], found[1::2], strict=True)]

    def tuples(self, size: int, count: int | None = None) -> list[Several]:
        """Return tuples of consecutive good seeds; what is left over is left out."""
        most = self.seeds // size if count is None else count
        found = self.networks(size * most)
        return [Several(found[at : at + size]) for at in range(0, len(found), size)]

    def provenance(self, seeds: Iterable[int]) -> dict[str, Any]:
        """Return what looked-at networks a result stands on, by seeds, for its record.

        Name and key of the recipe, seeds, those in between that failed, one digest of
        all networks, and the number of training images, if not all are looked at.
        """
        seeds = sorted(seeds)
        digests = self._digests | {s: n.digest for s, n in self._known.items()}
        bits = "".join(digests[seed] for seed in seeds)
        found: dict[str, Any] = {
            "name": str(self.name),
            "key": self.recipe.key,
            "seeds": seeds,
            "failed": [seed for seed in self.failed if seeds and seed < seeds[-1]],
            "digest": hashlib.sha256(bits.encode()).hexdigest(),
        }
        if self._images.batches is not None:
            found["images"] = self._images.batches * BATCH
        return found

    def _load(self, count: int) -> None:
        """Find or train networks until so many are good."""
        if count <= len(self._good):
            return
        found = store.trained(self.recipe, self.first_seed, count, device=self.device)
        self._good, self.failed = found.seeds, [*found.failed]
        for seed, state in zip(found.seeds, found.states, strict=True):
            self._keep(seed, state)

    def take(
        self, states: Mapping[int, State], others: Mapping[int, State] | None = None
    ) -> None:
        """Take these, by seed, for the first good networks: none is looked for.

        And others for those that are asked for by their seeds.
        """
        for seed, state in {**(others or {}), **states}.items():
            self._keep(seed, state)
        self._good, self.given = [*states], True

    def release(self) -> None:
        """Hold no network any longer: each is looked for when it is asked for again."""
        self._digests |= {seed: each.digest for seed, each in self._known.items()}
        self._known.clear()
        self._good, self.held, self.given = [], 0, False

    def _keep(self, seed: int, state: State) -> None:
        if seed not in self._known:
            own = canonical(state, self.device)
            self._known[seed] = Network(self, seed, own)
            self.held += sum(value.nbytes for value in own.values())


class Bench:
    """Trained networks of a scale, and where they are measured.

    Parameters
    ----------
    scale, device
        Whose settings they are of; where networks are trained and measured.
    first_seed, seeds
        Of each setting's first network; how many are taken, unless told otherwise.
    """

    def __init__(
        self, scale: Scale, first_seed: int, seeds: int, device: str | torch.device
    ):
        self.scale, self.first_seed, self.seeds = scale, first_seed, seeds
        self.images = Images(torch.device(device), scale.batches_measured)
        self._settings: dict[str, Setting] = {}

    def setting(self, name: str) -> Setting:
        """Return a setting's networks; under an alias, those of the setting itself.

        Those that were not asked for of late are released where there are many.
        """
        own = self.scale.canonical(name)
        found = self._settings.pop(own, None) or Setting(
            own, self.scale.recipe(own), self.images, self.first_seed, self.seeds
        )
        others = [each for each in self._settings.values() if not each.given]
        held = sum(each.held for each in others)
        while held > HELD:
            oldest = others.pop(0)
            held -= oldest.held
            oldest.release()
        self._settings[own] = found
        return found
