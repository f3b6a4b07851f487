"""Tables of text in notebooks."""

import pandas as pd

from muscomp_lib.notebook import summary


def test_a_text_table_is_left_aligned_and_cuts_nothing_off():
    sentence = "What is missing, and what to do next. " * 5 + "End."
    shown = summary.text_table(pd.DataFrame({"note": [f"<b>{sentence}"]})).data
    assert f'<td style="text-align: left; width: 60%">&lt;b&gt;{sentence}</td>' in shown
    assert '<th style="text-align: left">note</th>' in shown


def test_a_group_is_named_in_its_first_row_only():
    shown = summary.text_table(pd.DataFrame({"group": ["a", "a", "b", "a"], "key": [*"1234"]})).data
    assert [shown.count(f">{group}</td>") for group in "ab"] == [2, 1]


def test_an_empty_table_says_what_that_means():
    assert summary.text_table(pd.DataFrame({"note": []}), "Every track can be used.").data == "Every track can be used."
