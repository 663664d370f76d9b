# SPDX-License-Identifier: Apache-2.0
"""What was seen of a board in a row of pictures, and which of them show it on the table."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hiwm_core.error import HiwmError
from hiwm_robot.calibration.charuco import Board, Chooser, Sighting

ByteArray = NDArray[np.uint8]

# Of the picture's width, how far the board must have moved to be somewhere new.
NEW_PLACE = 0.06


class BoardPictures:
    """What was seen of the board.

    Args:
        wanted: Name of the picture in which the board lies on the table; None: the last one.

    Attributes:
        sightings: In order.
        size: Of the pictures, px.
        last: The picture for the table.
    """

    def __init__(self, wanted: str | None) -> None:
        self.sightings: list[Sighting] = []
        self.size = (0, 0)
        self.last: ByteArray | None = None
        self._wanted = wanted
        self._table: Sighting | None = None

    def take_size(self, name: str, picture: ByteArray) -> None:
        """A picture has come. Raises HiwmError if it has another size than those before."""
        size = (picture.shape[1], picture.shape[0])
        if self.size not in {(0, 0), size}:
            raise HiwmError(
                f'{name} is {size[0]}x{size[1]} px, those before it are '
                f'{self.size[0]}x{self.size[1]}; use pictures of one camera at one size'
            )
        self.size = size

    def take_table(self, sighting: Sighting, picture: ByteArray) -> None:
        """The newest one counts, or the one that was named."""
        if self._wanted in {None, sighting.name}:
            self._table, self.last = sighting, picture

    def on_table(self) -> Sighting:
        """The board on the table. Raises HiwmError if it was not seen there."""
        if self._table is None:
            which = f'in {self._wanted}' if self._wanted else 'in any picture'
            raise HiwmError(
                f'the board is not seen well {which}; lay it on the table, all in sight'
            )
        return self._table


def look_through(
    board: Board,
    seen: BoardPictures,
    pictures: Iterable[tuple[str, ByteArray]],
    most: int | None = None,
) -> None:
    """See every picture.

    Args:
        pictures: Name and pixels uint8 (H, W, 3) RGB.
        most: Take so many at most, those in which the board is somewhere new; None: all.

    Raises:
        HiwmError: A picture has another size than the others.
    """
    chooser: Chooser | None = None
    for name, picture in tqdm(pictures, unit='picture', desc='looking for the board'):
        seen.take_size(name, picture)
        sighting = board.see(name, picture)
        if sighting is None:
            continue
        seen.take_table(sighting, picture)
        if most is not None:
            chooser = chooser or Chooser(NEW_PLACE * picture.shape[1])
            if len(seen.sightings) >= most or not chooser.is_new(sighting):
                continue
        seen.sightings.append(sighting)
