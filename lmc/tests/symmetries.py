"""Symmetries written down, and made wrong."""

from dataclasses import replace

from lmc import Symmetry


def sites(symmetry: Symmetry) -> dict[str, str]:
    """Write each group's whole-axis sites as 'size: name:axis name:axis ...'."""
    written = {}
    for name, group in symmetry.groups.items():
        axes = " ".join(f"{site.name}:{site.axes[0]}" for site in group.sites)
        for site in group.sites:
            assert len(site.axes) == 1
            assert site.positions.flatten().tolist() == list(range(group.size))
        written[name] = f"{group.size}: {axes}"
    return written


def without(symmetry: Symmetry, group: str, site: tuple[str, int]) -> Symmetry:
    """Forget one site of one group: a wrong symmetry."""
    mine = symmetry.groups[group]
    fewer = tuple(s for s in mine.sites if (s.name, s.axes[0]) != site)
    assert len(fewer) == len(mine.sites) - 1
    groups = {**symmetry.groups, group: replace(mine, sites=fewer)}
    return replace(symmetry, groups=groups)
