"""Whether a string is a molecule on paper: SMILES syntax, closed rings and branches, valences.

A check of our own, as RDKit is no dependency of anything here.  It knows the organic atoms of
small molecules, and says less than RDKit: nothing of strain, and of aromatic rings only that
they are rings of atoms that can be aromatic.
"""

from __future__ import annotations

import re

ATOM = re.compile(
    r"\[(?P<isotope>\d*)(?P<inner>[A-Z][a-z]?|[bcnosp]|se)(?P<chiral>@{0,2})"
    r"(?P<hydrogens>H\d?)?(?P<charge>\+\d?|-\d?|\++|-+)?\]|(?P<plain>Br|Cl|[BCNOPSFI]|[bcnosp])"
)
RING = re.compile(r"%\d\d|\d")
BONDS = {"-": 1, "=": 2, "#": 3, "/": 1, "\\": 1, ":": 1}
# Bonds that an atom may have, hydrogens included; a charge of one adds or takes one.
VALENCE = {"B": 3, "C": 4, "N": 3, "O": 2, "P": 5, "S": 6, "F": 1, "Cl": 1, "Br": 1, "I": 1}


def is_molecule(string: str) -> bool:
    """Whether a string passes the check.

    >>> [is_molecule(s) for s in ("CCO", "c1ccccc1", "C1CC", "C(C", "C(=O)(=O)=O", "FC#C")]
    [True, True, False, False, False, True]
    """
    atoms: list[dict] = []
    stack: list[int] = []
    rings: dict[str, tuple[int, int]] = {}
    last, bond, place = None, 0, 0
    while place < len(string):
        rest = string[place:]
        atom, ring = ATOM.match(rest), RING.match(rest)
        if atom:
            atoms.append(_atom(atom))
            here = len(atoms) - 1
            if last is not None and not _join(atoms, last, here, bond):
                return False
            if last is None and bond:
                return False
            last, bond, place = here, 0, place + atom.end()
        elif ring and last is not None:
            if not _close(atoms, rings, ring.group().lstrip("%"), last, bond):
                return False
            bond, place = 0, place + ring.end()
        elif rest[0] in BONDS and not bond and last is not None:
            bond, place = BONDS[rest[0]], place + 1
        elif rest[0] == "(" and last is not None and not bond and string[place - 1] != "(":
            stack.append(last)
            place += 1
        elif rest[0] == ")" and stack and not bond and string[place - 1] != "(":
            last, place = stack.pop(), place + 1
        elif rest[0] == "." and last is not None and not bond and not stack:
            last, place = None, place + 1
        else:
            return False
    whole = bool(atoms) and last is not None and not (bond or stack or rings)
    return whole and all(_fits(atom) for atom in atoms)


def _atom(match: re.Match) -> dict:
    symbol = match["plain"] or match["inner"]
    sign = (match["charge"] or "")[:1]
    count = re.sub(r"\D", "", match["charge"] or "")
    charge = int(count or len(match["charge"] or "")) * {"+": 1, "-": -1, "": 0}[sign]
    hydrogens = int((match["hydrogens"] or "H0")[1:] or 1)
    return {
        "symbol": symbol.capitalize(),
        "aromatic": symbol.islower(),
        "bonds": float(hydrogens),
        "charge": charge,
        "joined": set(),
        "n_aromatic": 0,
    }


def _join(atoms: list[dict], one: int, other: int, bond: int) -> bool:
    if one == other or other in atoms[one]["joined"]:
        return False
    both = atoms[one]["aromatic"] and atoms[other]["aromatic"] and not bond
    for here, there in ((one, other), (other, one)):
        atoms[here]["joined"].add(there)
        atoms[here]["bonds"] += bond or 1
        atoms[here]["n_aromatic"] += both
    return True


def _close(atoms: list[dict], rings: dict, label: str, last: int, bond: int) -> bool:
    if label not in rings:
        rings[label] = last, bond
        return True
    first, begun = rings.pop(label)
    if bond and begun and bond != begun:
        return False
    return _join(atoms, first, last, bond or begun)


def _fits(atom: dict) -> bool:
    allowed = VALENCE.get(atom["symbol"], 8)
    # A charge on nitrogen or oxygen adds a bond; on boron and carbon any takes one.
    allowed += -abs(atom["charge"]) if atom["symbol"] in "BC" else atom["charge"]
    if not atom["aromatic"]:
        return atom["bonds"] <= allowed
    # An aromatic atom has two bonds of the ring, and may lend one more to it.
    return atom["n_aromatic"] >= 2 and atom["bonds"] <= max(allowed, 3)
