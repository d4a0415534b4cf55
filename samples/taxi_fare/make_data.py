"""Makes taxi_fares.csv: 3,000 invented trips that look like New York's, dirt included. Seeded: the same file each time.

Fares follow the city's tariff of 2014: a base, a rate per fifth of a mile, surcharges by hour, a flat fare between JFK
and Manhattan, the surcharge to Newark, and time lost in traffic.
"""

from __future__ import annotations

import csv
import math
import random
from datetime import datetime, timedelta
from pathlib import Path

ROWS = 3000
COLUMNS = (
    "fare_amount",
    "pickup_datetime",
    "pickup_longitude",
    "pickup_latitude",
    "dropoff_longitude",
    "dropoff_latitude",
    "passenger_count",
)
# name: longitude, latitude, spread in degrees, weight
PLACES = {
    "midtown": (-73.983, 40.755, 0.008, 34),
    "downtown": (-74.008, 40.712, 0.006, 14),
    "village": (-73.999, 40.732, 0.007, 18),
    "upper east": (-73.958, 40.773, 0.009, 14),
    "upper west": (-73.977, 40.785, 0.008, 11),
    "harlem": (-73.946, 40.811, 0.009, 4),
    "brooklyn": (-73.968, 40.684, 0.018, 8),
    "queens": (-73.925, 40.757, 0.016, 5),
    "lga": (-73.8740, 40.7769, 0.002, 5),
    "jfk": (-73.7781, 40.6413, 0.003, 4),
    "ewr": (-74.1745, 40.6895, 0.002, 1),
}
MANHATTAN = frozenset({"midtown", "downtown", "village", "upper east", "upper west", "harlem"})
HOURS = (3, 2, 2, 1, 1, 1, 2, 4, 5, 5, 5, 5, 5, 5, 5, 5, 4, 5, 6, 7, 6, 6, 6, 5)


def kilometres(lon1: float, lat1: float, lon2: float, lat2: float) -> float:
    east = math.radians(lon2 - lon1) * math.cos(math.radians((lat1 + lat2) / 2))
    return 6371.0 * math.hypot(east, math.radians(lat2 - lat1))


def moment(rng: random.Random) -> datetime:
    day = datetime(2014, 1, 1) + timedelta(days=rng.randrange(365))
    return day + timedelta(hours=rng.choices(range(24), HOURS)[0], seconds=rng.randrange(3600))


def fare(rng: random.Random, places: set[str], km: float, when: datetime) -> float:
    if "jfk" in places and places & MANHATTAN:
        return 52.0 + 0.5
    rush = when.weekday() < 5 and 16 <= when.hour < 20
    night = when.hour >= 20 or when.hour < 6
    driven = km / 1.609 * rng.uniform(1.15, 1.45)
    slow_minutes = rng.expovariate(1 / (6 if rush else 3))
    units = round(driven * 5) + round(slow_minutes)
    return 2.5 + 0.5 * units + 0.5 + 1.0 * rush + 0.5 * night + 17.5 * ("ewr" in places)


def trip(rng: random.Random) -> list[object]:
    weights = [place[3] for place in PLACES.values()]
    start, end = rng.choices(list(PLACES), weights, k=2)
    spots = [(rng.gauss(PLACES[p][0], PLACES[p][2]), rng.gauss(PLACES[p][1], PLACES[p][2])) for p in (start, end)]
    when = moment(rng)
    amount = fare(rng, {start, end}, kilometres(*spots[0], *spots[1]), when)
    passengers = rng.choices((1, 2, 3, 4, 5, 6), (70, 14, 4, 2, 7, 3))[0]
    return [f"{amount:.2f}", f"{when:%Y-%m-%d %H:%M:%S}", *(f"{x:.6f}" for spot in spots for x in spot), passengers]


def spoil(rng: random.Random, row: list[object]) -> None:
    """What a real file holds too: no position, a fare below zero, nobody on board, a missing value, swapped columns."""
    kind = rng.choice(("zero", "zero", "negative", "empty cab", "missing", "swapped"))
    if kind == "zero":
        row[2:6] = ["0.000000"] * 4
    elif kind == "negative":
        row[0] = f"-{row[0]}"
    elif kind == "empty cab":
        row[6] = 0
    elif kind == "missing":
        row[rng.choice((0, 4, 5, 6, 6))] = ""
    else:
        row[2], row[3] = row[3], row[2]


def main() -> None:
    rng = random.Random(2014)
    rows = [trip(rng) for _ in range(ROWS)]
    for row in rng.sample(rows, 75):
        spoil(rng, row)
    with (Path(__file__).parent / "taxi_fares.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)


if __name__ == "__main__":
    main()
