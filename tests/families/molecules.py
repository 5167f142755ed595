# SPDX-License-Identifier: Apache-2.0
"""Pictures of molecules for the YOLOv8n in `ABD-model`; run in the environment that has RDKit (peers.py).

    python -m families.molecules FOLDER SPLIT SEED COUNT

RDKit draws the same molecule twice with the same options: as pixels, and as SVG, whose paths say where every letter
and every bond lies. What the model's authors called the box of a bond or of an unlabelled carbon is not published:
the margins in STYLE were fitted to the float model on pictures of other seeds, and are part of the truth since.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rdkit import Chem, RDLogger
from rdkit.Chem.Draw import rdMolDraw2D

from families.layout import Truth, write_split

SIZE = 640

# Class ids of the checkpoint, of what the pictures are judged by. What it hardly knows in RDKit's style (halogens, S,
# triple bonds, subscripts) is not drawn, or has no box.
CLASSES = {"H": 1, "C": 6, "N": 7, "O": 8, "Single": 121, "Double": 122, "CH": 137, "CH3": 138, "CH2": 139}

# Letters of RDKit's own font, by the commands of their SVG path.
GLYPHS = {"MQQQQQQQQMQQQQQQQQ": "O", "MLLLLLLLLLLLL": "H", "MLQQLLLLLQQLLLL": "N", "MQQQQQQLLLLQQQQQQQL": "2"}

SCAFFOLDS = (
    "c1cc({0})ccc1{1}", "c1c({0})cccc1{1}", "c1ccc2c(c1)cc({0})cc2{1}", "C1CCC({0})CC1{1}", "C1CN({0})CCN1{1}",
    "c1cc({0})ncc1{1}", "c1c({0})[nH]c({1})c1", "C1CCC({0})C1{1}", "O=C({0})CC{1}", "C({0})C=CC{1}", "N({0})C(=O)C{1}",
    "c1nc({0})nc({1})c1", "O=C1CC({0})CC1{1}", "C({0})CC(C){1}", "c1cc({0})oc1{1}", "C({0})CC(=O)OC{1}",
    "c1ccc(cc1{0})Oc1ccc({1})cc1", "O=C(Nc1ccc({0})cc1)C{1}", "c1cc({0})c2[nH]ccc2c1{1}",
)  # fmt: skip
GROUPS = (
    "C", "CC", "O", "N", "C(=O)O", "C(=O)N", "C(C)C", "OC", "NC", "CCO", "C(=O)C", "CN", "C1CC1", "C=C", "C(=O)NC",
    "C(O)C", "N(C)C", "CC(=O)O", "C1CCNCC1", "c1ccncc1",
)  # fmt: skip


@dataclass(frozen=True)
class Style:
    """How boxes are drawn, in parts of the bond's length where nothing else is said."""

    letter: float = 0.06  # margin around a letter
    vertex: float = 0.32  # side of an unlabelled carbon's box
    bare: float = 0.34  # left away of a bond at an unlabelled carbon
    labelled: float = 0.20  # left away at a letter, from where RDKit ends the line
    bond: float = 0.16  # margin around what is left


STYLE = Style()
OUT = np.array([-1.0, -1.0, 1.0, 1.0])
CARBONS = ("C", "CH", "CH2", "CH3")  # by hydrogens
KINDS = {1.0: "Single", 2.0: "Double"}


def random_molecule(rng: np.random.Generator) -> Chem.Mol:
    """A small organic molecule without charges or stereo marks."""
    while True:
        scaffold, groups = rng.choice(SCAFFOLDS), rng.choice(GROUPS, 2)
        molecule = Chem.MolFromSmiles(str(scaffold).format(*groups))
        if molecule is not None:
            return molecule


def draw(molecule: Chem.Mol, rng: np.random.Generator) -> tuple[np.ndarray, str, np.ndarray]:
    """The picture uint8 (SIZE, SIZE, 3) BGR, the SVG of the same drawing, and the atoms' places (n, 2) in pixels."""
    options = {
        "padding": float(rng.uniform(0.06, 0.2)),
        "rotate": float(rng.uniform(0, 360)),
        "bondLineWidth": int(rng.integers(2, 4)),
        "fixedBondLength": float(rng.uniform(55, 100)),
    }
    drawn = []
    for canvas in (rdMolDraw2D.MolDraw2DCairo(SIZE, SIZE), rdMolDraw2D.MolDraw2DSVG(SIZE, SIZE)):
        for name, value in options.items():
            setattr(canvas.drawOptions(), name, value)
        canvas.drawOptions().useBWAtomPalette()
        rdMolDraw2D.PrepareAndDrawMolecule(canvas, molecule)
        places = [canvas.GetDrawCoords(atom) for atom in range(molecule.GetNumAtoms())]
        canvas.FinishDrawing()
        drawn.append(canvas.GetDrawingText())
    image = cv2.imdecode(np.frombuffer(drawn[0], np.uint8), cv2.IMREAD_COLOR)
    return image, drawn[1], np.array([(place.x, place.y) for place in places])


def photograph(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A scan of it: paper, ink, blur and noise."""
    paper, ink = rng.uniform(215, 255, 3), rng.uniform(0, 60)
    scanned = ink + image.astype(np.float32) / 255 * (paper - ink)
    scanned = cv2.GaussianBlur(scanned, (0, 0), rng.uniform(0.3, 1.1))
    return np.clip(scanned + rng.normal(0, rng.uniform(0, 5), image.shape), 0, 255).astype(np.uint8)


def truth(molecule: Chem.Mol, svg: str, places: np.ndarray, style: Style = STYLE) -> Truth:
    """Every letter, unlabelled carbon and bond of a drawing."""
    letters: dict[int, list[tuple[str, np.ndarray]]] = {}
    lines: dict[int, list[np.ndarray]] = {}
    for tag, path in re.findall(r"<path class='([^']*)' d='([^']*)' (?:style|fill)=", svg):
        points = np.array(re.findall(r"(-?[\d.]+)[ ,](-?[\d.]+)", path), np.float64)
        number = int(re.search(r"\d+", tag)[0])
        if tag.startswith("bond"):
            lines.setdefault(number, []).append(points)
        else:
            glyph = GLYPHS[re.sub("[^A-Z]", "", path)]
            letters.setdefault(number, []).append((glyph, np.concatenate([points.min(0), points.max(0)])))
    ends = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in molecule.GetBonds()]
    unit = float(np.median([np.linalg.norm(places[a] - places[b]) for a, b in ends]))
    found = [(name, box, style.letter) for label in letters.values() for name, box in label]
    for atom in molecule.GetAtoms():
        if atom.GetIdx() not in letters:
            found.append((CARBONS[atom.GetTotalNumHs()], np.tile(places[atom.GetIdx()], 2), style.vertex / 2))
    for bond, (a, b) in zip(molecule.GetBonds(), ends, strict=True):
        cuts = [style.labelled if end in letters else style.bare for end in (a, b)]
        box = _bond_box(np.concatenate(lines[bond.GetIdx()]), places[a], places[b], cuts)
        found.append((KINDS[bond.GetBondTypeAsDouble()], box, style.bond))
    return [
        (CLASSES[name], np.clip(box + unit * margin * OUT, 0, SIZE)) for name, box, margin in found if name in CLASSES
    ]


def _bond_box(points: np.ndarray, begin: np.ndarray, end: np.ndarray, cuts: list[float]) -> np.ndarray:
    """The box of a bond's lines, given by their ends, shortened at both atoms by these parts of its length."""
    at_begin = np.linalg.norm(points - begin, axis=1) < np.linalg.norm(points - end, axis=1)
    kept = points + np.where(at_begin[:, None], cuts[0], -cuts[1]) * (end - begin)
    return np.concatenate([kept.min(0), kept.max(0)])


def sample(seed: int) -> tuple[np.ndarray, Truth]:
    """One picture and its truth."""
    rng = np.random.default_rng(seed)
    molecule = random_molecule(rng)
    molecule = rdMolDraw2D.PrepareMolForDrawing(molecule)  # in Kekulé form, as it is drawn
    image, svg, places = draw(molecule, rng)
    return photograph(image, rng), truth(molecule, svg, places)


def main() -> None:
    folder, split, seed, count = sys.argv[1:]
    RDLogger.DisableLog("rdApp.*")  # combinations that are no molecule are thrown away
    write_split(Path(folder), split, sample, int(seed), int(count))


if __name__ == "__main__":
    main()
