"""Tables of words, and the closing lines of a notebook."""

import pandas as pd

from muscomp_lib.notebook import summary


def test_a_table_of_words_is_set_flush_left_and_shows_every_word():
    sentence = "What is missing, and what to do next. " * 5 + "End."
    shown = summary.text_table(pd.DataFrame({"note": [f"<b>{sentence}"]})).data
    assert f'<td style="text-align: left">&lt;b&gt;{sentence}</td>' in shown
    assert '<th style="text-align: left">note</th>' in shown


def test_a_table_without_rows_says_what_that_means():
    assert summary.text_table(pd.DataFrame({"note": []}), "Every track can be used.").data == "Every track can be used."
