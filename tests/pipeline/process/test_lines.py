"""The lines that a stage prints."""

from pipeline.process.lines import table


def test_figures_as_a_table():
    lines = table({"seconds": 3, "teacher": {"em": 90.123, "f1": 92.0}, "ted": {"f1": 81.5, "p": 0.00123}})
    assert [line.split() for line in lines] == [
        ["seconds", "3"],
        ["em", "f1", "p"],
        ["teacher", "90.12", "92.00"],
        ["ted", "81.50", "0.00123"],
    ]
    assert table({}) == []
