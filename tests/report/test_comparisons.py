"""Further tables of the report, and what it says about picking, fresh seeds and earlier looks."""

from dataclasses import replace

import pytest

from distill.report import comparisons, page, tables
from distill.report.verdict import sentences
from tests.helpers import made_up

LOOKS = {"summaries": 0, "seeds": [], "methods": []}


def versus(row, base, value, verdict, name="verdict"):
    ends = {"": value, "_low": value - 1, "_high": value + 1, "_p": 0.01, "_detectable": 1.4}
    return row | {f"f1_vs_{base}{end}": number for end, number in ends.items()} | {name: verdict}


@pytest.fixture
def results():
    """ft, kd and ted, with a second table against kd."""
    plain = made_up.results(methods=("ft", "kd", "ted"), also=("kd",), looks=LOOKS)
    summary = dict(plain.summary)
    for name, value, verdict in (("ft", -1.5, "worse"), ("ted", 0.25, "cannot tell")):
        summary[name] = versus(summary[name], "kd", value, verdict, "verdict_vs_kd")
    return replace(plain, summary=summary)


@pytest.fixture
def confirmed(results):
    rows = {"ft": {"f1": 85.0, "seeds": [101, 102]}, "ted": {"f1": 86.2, "seeds": [101, 102]}}
    return replace(results, confirm=rows | {"ted": versus(rows["ted"], "ft", 1.2, "better")})


def test_all_against_kd(results):
    (table,) = comparisons.against(results)
    assert [row[0].text for row in table.rows] == ["ft", "kd", "ted"]
    assert [title for title, _ in table.columns] == [
        *("Model", "F1", "Difference to kd", "95% interval", "p", "Smallest difference", "Verdict")
    ]
    cells = [cell.text for cell in table.rows[0]]
    assert cells[2:] == ["−1.50", "[−2.50, −0.50]", "0.010", "1.40", "worse"]
    assert [cell.text for cell in table.rows[1]][2:] == ["–"] * 5
    html, text = page.html(results), page.markdown(results)
    assert 'id="against-kd"' in html and "Difference to kd" in text


def test_no_further_table_without_a_further_baseline():
    plain = made_up.results()
    assert comparisons.against(plain) == [] and comparisons.confirmed(plain) is None


def test_fresh_seeds_have_their_own_table_and_sentence(confirmed):
    table = comparisons.confirmed(confirmed)
    assert table.caption == "On fresh seeds: 101 and 102" and [row[0].text for row in table.rows] == ["ft", "ted"]
    assert table.rows[1][-1].kind == "better"
    (said,) = [text for text, _ in sentences(confirmed) if "fresh seeds" in text]
    assert said == (
        "On 2 fresh seeds, by which nothing was picked: ted is 1.20 points above ft (better, [+0.20, +2.20])."
        " This verdict counts."
    )
    assert 'id="confirmed"' in page.html(confirmed)


def test_a_picked_method_is_warned_of_until_it_is_confirmed(results, confirmed):
    (text, command) = comparisons.picked(results)
    assert f"{results.chosen} was picked among 2 methods" in text and command == comparisons.CONFIRM
    assert (text, command) in sentences(results)
    assert comparisons.picked(confirmed) == ("", "")
    alone = made_up.results(methods=("ft", "kd"))
    assert comparisons.picked(alone) == ("", "")


@pytest.mark.parametrize(
    ("looks", "words"),
    [
        (None, ["unknown: there is no Git history"]),
        (
            {"summaries": 2, "seeds": [[1], [1, 2]], "methods": []},
            ["2 earlier summaries of this data with seeds 1 and 1+2 alone", "likelier than intervals and p say."],
        ),
        (
            {"summaries": 1, "seeds": [[1]], "methods": ["pkd"]},
            ["1 earlier summary", "methods that were looked at and are not in this run: pkd."],
        ),
        ({"summaries": 0, "seeds": [], "methods": ["pkd"]}, ["Methods that were looked at"]),
    ],
)
def test_earlier_looks_are_told_in_a_sentence(results, looks, words):
    said = comparisons.looks(replace(results, looks=looks))
    assert all(word in said for word in words), said
    assert said in page.notes(replace(results, looks=looks))


def test_no_earlier_look_is_no_sentence(results):
    assert comparisons.looks(results) == ""


def test_any_method_may_be_the_baseline():
    """All words and tables go by its name."""
    plain = made_up.results(methods=("ft", "kd", "ted"))
    rows = {name: {k: v for k, v in row.items() if "_vs_" not in k} for name, row in plain.summary.items()}
    rows["kd"].pop("verdict")
    rows["ft"] = versus(rows["ft"], "kd", -2.0, "worse")
    rows["ted"] = versus(rows["ted"], "kd", 2.0, "better") | {"selection_f1": 99.0}
    results = replace(plain, baseline="kd", summary=rows, looks=LOOKS)
    assert results.rivals == ["ft", "ted"] and results.chosen == "ted"
    text = sentences(results)[0][0]
    assert text.startswith("ted wins:") and "2.00 points above kd" in text and "time of kd" in text
    html = page.html(results)
    assert "Difference to kd" in html and "Difference to ft" not in html


def test_a_gap_that_may_be_none_has_no_share():
    plain = made_up.results(methods=("ft", "kd"))
    row = plain.summary["kd"] | {"gap_closed": 40.0}
    shown = replace(plain, summary=plain.summary | {"kd": row | {"gap_closed_low": 10.0, "gap_closed_high": 70.0}})
    hidden = replace(plain, summary=plain.summary | {"kd": row | {"gap_closed_low": None, "gap_closed_high": None}})
    assert "closes 40% of the gap" in sentences(shown)[0][0] and "of the gap" not in sentences(hidden)[0][0]

    def cells(results):
        table = tables.comparison(results)
        (row,) = [row for row in table.rows if row[0].text == "kd"]
        return [cell.text for (title, _), cell in zip(table.columns, row, strict=True) if title == "Gap closed"]

    assert cells(shown) == ["40", "[+10, +70]"] and cells(hidden) == []


def test_columns_that_one_seed_cannot_fill_are_left_out():
    results = made_up.results(methods=("ft", "kd", "ted"), seeds=(1,))
    rows = {name: dict(row) for name, row in results.summary.items()}
    for name in ("ft", "ted"):
        rows[name] |= {"f1_vs_kd": 1.0, "f1_vs_kd_low": -1.0, "f1_vs_kd_high": 3.0, "verdict_vs_kd": "one seed"}
    (table,) = comparisons.against(replace(results, summary=rows, also=("kd",)))
    assert [title for title, _ in table.columns][2:] == ["Difference to kd", "95% interval", "Verdict"]
