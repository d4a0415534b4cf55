"""Makes houses.csv: 1,500 invented sales of houses, with gaps. Seeded: the same file each time.

A price grows with the living area, the grade and the nearness to the centre, falls with age unless the house was
renovated, and follows the season and a slow trend.
"""

from __future__ import annotations

import csv
import math
import random
from datetime import date, timedelta
from pathlib import Path

ROWS = 1500
COLUMNS = (
    "sold_on",
    "price",
    "living_area",
    "lot_area",
    "bedrooms",
    "bathrooms",
    "floors",
    "grade",
    "built",
    "renovated",
    "km_to_centre",
    "waterfront",
)


def sale(rng: random.Random) -> list[object]:
    """One row."""
    sold_on = date(2023, 1, 1) + timedelta(days=rng.randrange(730))
    living = round(min(420.0, max(45.0, rng.lognormvariate(5.0, 0.38))))
    floors = 1 if living < 90 else rng.choice((1, 1.5, 2, 2, 2.5))
    lot = round(living / floors * rng.uniform(1.3, 9.0))
    bedrooms = max(1, min(7, round(living / 48 + rng.gauss(0, 0.8))))
    bathrooms = max(1, round(2 * (0.5 + bedrooms * 0.5 + rng.gauss(0, 0.3))) / 2)
    grade = max(3, min(12, round(5 + living / 65 + rng.gauss(0, 1.1))))
    built = rng.randrange(1905, 2023)
    renovated = rng.randrange(built + 20, 2023) if built < 1990 and rng.random() < 0.22 else ""
    distance = round(abs(rng.gauss(0, 11)) + 0.5, 1)
    waterfront = int(rng.random() < 0.03)
    age = sold_on.year - (int(renovated) if renovated else built)
    log_price = (
        11.3
        + 0.62 * math.log(living / 100)
        + 0.13 * (grade - 6)
        - 0.28 * math.log1p(distance / 4)
        - 0.0022 * min(age, 60)
        + 0.35 * waterfront * (1 + 1 / (1 + distance))
        + 0.04 * math.sin(2 * math.pi * (sold_on.month - 2) / 12)
        + 0.05 * (sold_on.toordinal() - date(2023, 1, 1).toordinal()) / 365
        + rng.gauss(0, 0.11)
    )
    price = round(math.exp(log_price + 1.2), -2)
    shown = ["" if rng.random() < 0.04 else value for value in (lot, bathrooms)]
    row = (sold_on.isoformat(), f"{price:.0f}", living, shown[0], bedrooms, shown[1], floors, grade, built)
    return [*row, renovated, distance, waterfront]


def main() -> None:
    """Write houses.csv beside this script."""
    rng = random.Random(1907)
    with Path(__file__).with_name("houses.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(sale(rng) for _ in range(ROWS))


if __name__ == "__main__":
    main()
