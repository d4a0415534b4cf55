"""Makes births.csv: made-up births whose weights follow what is known of them, dirt included."""

from __future__ import annotations

import csv
import random
from pathlib import Path

ROWS = 1500
HERE = Path(__file__).resolve().parent
COLUMNS = ["weight_pounds", "is_male", "mother_age", "plurality", "gestation_weeks", "year", "month"]


def main() -> None:
    draw = random.Random(2008)
    with (HERE / "births.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(birth(draw) for _ in range(ROWS))


def birth(draw: random.Random) -> list[object]:
    """A row: boys and children of older mothers weigh a little more, twins and early children much less."""
    plurality = draw.choices([1, 2, 3], [0.94, 0.05, 0.01])[0]
    weeks = round(min(42, draw.gauss(39.2 - 2.5 * (plurality - 1), 1.8)))
    is_male, age = draw.random() < 0.51, draw.randint(15, 45)
    weight = 7.3 + 0.28 * (weeks - 39) + 0.25 * is_male + 0.01 * (age - 27) - 0.9 * (plurality - 1) + draw.gauss(0, 0.8)
    known_weeks = "" if draw.random() < 0.02 else weeks
    shown = 0.0 if draw.random() < 0.01 else round(max(1.5, weight), 2)
    return [shown, is_male, age, plurality, known_weeks, draw.randint(2001, 2008), draw.randint(1, 12)]


if __name__ == "__main__":
    main()
